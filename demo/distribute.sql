-- What Atoll is told beyond the schema. An order lies with its lines, a part with its offers.
SELECT create_reference_table('region');
SELECT create_reference_table('nation');
SELECT create_reference_table('supplier');
SELECT create_distributed_table('orders', 'o_orderkey');
SELECT create_distributed_table('lineitem', 'l_orderkey');
SELECT create_distributed_table('customer', 'c_custkey');
SELECT create_distributed_table('part', 'p_partkey');
SELECT create_distributed_table('partsupp', 'ps_partkey');
