//! gRPC on the client port, the services `Admin` and `Leases`: the listener recognises HTTP/2 by its preface and hands the connection over.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use atoll_control::arbiter::Arbiter;
use atoll_planner::directory::Node;
use atoll_proto::auth::Token;
use atoll_proto::v1::admin_server::{Admin, AdminServer as GrpcServer};
use atoll_proto::v1::leases_server::LeasesServer;
use atoll_proto::v1::{
    AddNodeReply, AddNodeRequest, BootstrapReply, BootstrapRequest, CoordinatorStatus, DrainReply, DrainRequest,
    GroupDone, GroupRequest, GroupStatus, HistoryReply, HistoryRequest, NodeStatus, ShardStatus, StatusReply,
    StatusRequest,
};
use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::directory::sizes::{Sizes, measure};
use crate::directory::{Keeper, bootstrap, group_calls};
use crate::drain::Drain;
use crate::error::{Error, sqlstate};

/// Connections handed over and not yet taken up.
const CONNECTIONS_QUEUED_MAX: usize = 64;
/// A connection on which nothing moves is asked for a sign of life after this time.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// What the coordinator says of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    pub name: String,
    /// Where clients reach it.
    pub host: String,
    pub port: u16,
}

/// Takes connections whose client speaks HTTP/2.
#[derive(Clone)]
pub struct AdminServer {
    connections: mpsc::Sender<std::net::TcpStream>,
}

impl AdminServer {
    /// Starts to serve, for as long as the process lives. The work behind admin calls is the current (control) runtime's.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn start(
        identity: Identity,
        keeper: Arc<Keeper>,
        arbiter: Arbiter,
        token: &Token,
        drain: Arc<Drain>,
    ) -> io::Result<Self> {
        let service = Service { identity, keeper, drain, control: Handle::current() };
        let routes = Routes::new(GrpcServer::with_interceptor(service, token.check()));
        Self::serve(routes.add_service(LeasesServer::with_interceptor(arbiter, token.check())))
    }

    /// Calls are answered on a thread of their own: were a merge to hold the control runtime up, leases would not be renewed in time.
    fn serve(routes: Routes) -> io::Result<Self> {
        let (connections, queue) = mpsc::channel(CONNECTIONS_QUEUED_MAX);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("admin".into()).spawn(move || {
            // Each stream moves to this runtime's reactor here.
            let incoming = ReceiverStream::new(queue).map(TcpStream::from_std);
            let server = Server::builder().http2_keepalive_interval(Some(KEEPALIVE)).add_routes(routes);
            if let Err(error) = runtime.block_on(server.serve_with_incoming(incoming)) {
                tracing::error!(%error, "the admin service ended");
            }
        })?;
        Ok(Self { connections })
    }

    /// Serves a connection, none of whose bytes have been read. It is closed when too many wait already.
    pub fn accept(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        match stream.into_std() {
            Ok(stream) => {
                if self.connections.try_send(stream).is_err() {
                    tracing::warn!("an admin connection was closed: too many are waiting, or the service has ended");
                }
            }
            Err(error) => tracing::warn!(%error, "an admin connection cannot be handed over"),
        }
    }
}

#[derive(Clone)]
struct Service {
    identity: Identity,
    keeper: Arc<Keeper>,
    drain: Arc<Drain>,
    control: Handle,
}

/// The gRPC status for an error: its message with SQLSTATE, detail and hint.
fn status(error: &Error) -> Status {
    let fields = error.fields();
    let mut message = fields.message().to_owned();
    for more in [fields.detail(), fields.hint()].into_iter().flatten() {
        message.push_str("; ");
        message.push_str(more);
    }
    match error.sqlstate() {
        sqlstate::INVALID_PARAMETER_VALUE | "42939" => Status::invalid_argument(message),
        sqlstate::FEATURE_NOT_SUPPORTED => Status::failed_precondition(message),
        sqlstate::CANNOT_CONNECT_NOW | sqlstate::TOO_MANY_CONNECTIONS => Status::unavailable(message),
        state => Status::internal(format!("{message} ({state})")),
    }
}

impl Service {
    /// Runs work to its end, also when the caller goes away: what is half built would stay half built.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Status> {
        match self.control.spawn(work).await {
            Ok(done) => done.map_err(|error| {
                tracing::warn!(%error, "an admin call failed");
                status(&error)
            }),
            Err(error) => Err(Status::internal(error.to_string())),
        }
    }

    /// Runs calls to agents where their connections belong.
    async fn pass_on<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Status>> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let done = self.control.spawn(work).await.unwrap_or_else(|error| Err(Status::internal(error.to_string())));
        done.map(Response::new)
    }

    async fn status_reply(&self) -> StatusReply {
        let directory = self.keeper.directory();
        let reports = self.keeper.nodes();
        let groups = directory.groups.iter().enumerate().map(|(index, group)| GroupStatus {
            name: group.name.clone(),
            home: index == 0,
            epoch: self.keeper.leaders().epoch(&group.name).max(group.epoch),
            nodes: reports
                .iter()
                .filter(|report| report.group == group.name)
                .map(|report| NodeStatus {
                    state: Some(report.shown()),
                    agent_address: report.node.agent_address.clone(),
                })
                .collect(),
        });
        let databases = directory.databases.iter().filter(|(_, database)| !database.colocations.is_empty());
        let sizes: Vec<Sizes> =
            join_all(databases.clone().map(|(name, _)| measure(&self.keeper, &directory, name))).await;
        let mut shards: Vec<ShardStatus> = databases
            .zip(&sizes)
            .flat_map(|((_, database), sizes)| {
                let shards = database.colocations.values().flat_map(|colocation| &colocation.shards);
                shards.map(|shard| ShardStatus {
                    id: shard.id.0,
                    group: directory.groups.get(shard.group.0).map(|group| group.name.clone()).unwrap_or_default(),
                    epoch: shard.epoch,
                    bytes: sizes.of_shard(shard),
                    state: "active".to_owned(),
                })
            })
            .collect();
        shards.sort_by_key(|shard| shard.id);
        let state = match (self.drain.begun.is_cancelled(), self.keeper.is_ready()) {
            (true, _) => "stopping",
            (false, true) => "running",
            (false, false) => "starting",
        };
        StatusReply {
            coordinators: vec![CoordinatorStatus {
                name: self.identity.name.clone(),
                host: self.identity.host.clone(),
                port: self.identity.port.into(),
                pid: std::process::id(),
                state: state.to_owned(),
            }],
            groups: groups.collect(),
            shards,
        }
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn group(&self, request: Request<GroupRequest>) -> Result<Response<GroupDone>, Status> {
        let (keeper, request) = (self.keeper.clone(), request.into_inner());
        self.pass_on(async move { group_calls::call(&keeper, request).await }).await
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        tracing::info!("draining: idle sessions end now, new ones are refused");
        let sessions = u32::try_from(self.drain.run().await).unwrap_or(u32::MAX);
        Ok(Response::new(DrainReply { sessions }))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Result<Response<HistoryReply>, Status> {
        let (keeper, group) = (self.keeper.clone(), request.into_inner().group);
        self.pass_on(async move { group_calls::history(&keeper, &group).await }).await
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let service = self.clone();
        let reply = self.finish(async move { Ok(service.status_reply().await) }).await?;
        Ok(Response::new(reply))
    }

    async fn add_node(&self, request: Request<AddNodeRequest>) -> Result<Response<AddNodeReply>, Status> {
        let request = request.into_inner();
        if request.name.is_empty() || request.group.is_empty() || request.agent_address.is_empty() {
            return Err(Status::invalid_argument("name, group and agent_address must be given"));
        }
        if !(request.capacity.is_finite() && request.capacity > 0.0) {
            return Err(Status::invalid_argument("capacity must be above 0"));
        }
        let node = Node {
            name: request.name,
            zone: request.zone,
            capacity: request.capacity,
            agent_address: request.agent_address,
            agent_socket: request.agent_socket,
        };
        let (keeper, group) = (self.keeper.clone(), request.group);
        self.finish(async move { bootstrap::add_node(&keeper, &node, &group).await }).await?;
        Ok(Response::new(AddNodeReply {}))
    }

    async fn bootstrap(&self, request: Request<BootstrapRequest>) -> Result<Response<BootstrapReply>, Status> {
        let request = request.into_inner();
        let keeper = self.keeper.clone();
        self.finish(async move {
            let BootstrapRequest { databases, shards, superuser_password } = &request;
            bootstrap::bootstrap(&keeper, databases, *shards, superuser_password).await
        })
        .await?;
        Ok(Response::new(BootstrapReply {}))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use atoll_control::record::GroupRecord;
    use atoll_control::store::{Kind, Leader, TlsFiles, open};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// Serves an arbiter and shows that a lease is renewed while nothing else on `control` moves.
    #[test]
    fn leases_are_renewed_while_the_control_runtime_is_busy() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::new("secret").unwrap();
        let control = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (listener, arbiter) = control.block_on(async {
            let arbiter = Arbiter::start(&folder.path().join("leases.json"), CancellationToken::new()).await.unwrap();
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), arbiter)
        });
        let endpoint = listener.local_addr().unwrap().to_string();
        let admin = {
            let _control = control.enter();
            AdminServer::serve(Routes::new(LeasesServer::with_interceptor(arbiter, token.check()))).unwrap()
        };
        control.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                admin.accept(stream);
            }
        });
        let agent = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        agent.block_on(async {
            let store =
                open(Kind::Arbiter, &[endpoint], &TlsFiles::default(), "", &token, Duration::from_secs(2)).unwrap();
            let leader = Leader { node: "g1-n1".into(), epoch: 1 };
            let ttl = Duration::from_secs(60);
            let (lease, _) = store.acquire("g1", 0, &GroupRecord::default(), &leader, ttl).await.unwrap();
            let (started, busy) = tokio::sync::oneshot::channel();
            let merge = control.spawn(async move {
                started.send(()).unwrap();
                std::thread::sleep(Duration::from_secs(3));
            });
            busy.await.unwrap();
            let asked = Instant::now();
            store.renew("g1", lease).await.unwrap();
            assert_eq!(store.read("g1").await.unwrap().leader, Some(leader));
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            assert!(!merge.is_finished(), "it was to be busy all the time");
        });
    }
}
