-- What Atoll is told beyond the schema. Sales lie with their returns: those of the stores by ticket, of the web by order (apart from the
-- tickets, though of the same type), of the catalog by item, beside the items and their inventory. So a channel's sales meet its returns
-- within a shard, items meet only the catalog's sales there, and customers nobody's.
SELECT create_distributed_table('store_sales', 'ss_ticket_number');
SELECT create_distributed_table('store_returns', 'sr_ticket_number');
SELECT create_distributed_table('web_sales', 'ws_order_number', colocate_with => 'none');
SELECT create_distributed_table('web_returns', 'wr_order_number', colocate_with => 'web_sales');
SELECT create_distributed_table('item', 'i_item_sk');
SELECT create_distributed_table('catalog_sales', 'cs_item_sk');
SELECT create_distributed_table('catalog_returns', 'cr_item_sk');
SELECT create_distributed_table('inventory', 'inv_item_sk');
SELECT create_distributed_table('customer', 'c_customer_sk');
SELECT create_distributed_table('customer_address', 'ca_address_sk', colocate_with => 'none');
SELECT create_reference_table('call_center');
SELECT create_reference_table('catalog_page');
SELECT create_reference_table('date_dim');
SELECT create_reference_table('household_demographics');
SELECT create_reference_table('income_band');
SELECT create_reference_table('reason');
SELECT create_reference_table('ship_mode');
SELECT create_reference_table('store');
SELECT create_reference_table('time_dim');
SELECT create_reference_table('warehouse');
SELECT create_reference_table('web_site');
-- customer_demographics, promotion and web_page stay unsharded.
