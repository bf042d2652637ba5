//! Heartbeats over gRPC, for gateways that hold an LDevID and have attested.
//!
//! Of a gateway that beats there is one stream, one [`Pulse`](crate::heartbeat::Pulse)
//! and, in between, one mark that waits to be written: a beat costs an HMAC and
//! no write of its own.

mod registry;
mod stream;

use std::{pin::Pin, sync::Arc};

use holdfast_proto::grpc::v1::{self, heartbeat_server::Heartbeat};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, attestation::caller, enrollment::connection, error::Refusal, limits::Step};

pub use registry::Heartbeats;

/// Handlers of `holdfast.v1.Heartbeat`.
pub(super) struct HeartbeatService {
    shared: Arc<Shared>,
}

impl HeartbeatService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn begin(
        &self,
        request: Request<Streaming<v1::BeatRequest>>,
    ) -> Result<Response<BeatStream>, Refusal> {
        let shared = &self.shared;
        let caller = caller(shared, &connection(&request)?, shared.clock.now()).await?;
        let id = caller.gateway.id;
        shared.limits.gateway(&id, Step::Beats)?;
        let answers = stream::serve(Arc::clone(shared), caller, request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }
}

type BeatStream = Pin<Box<dyn Stream<Item = Result<v1::BeatResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Heartbeat for HeartbeatService {
    type BeatStream = BeatStream;

    async fn beat(
        &self,
        request: Request<Streaming<v1::BeatRequest>>,
    ) -> Result<Response<BeatStream>, Status> {
        self.begin(request).await.map_err(Refusal::into_status)
    }
}
