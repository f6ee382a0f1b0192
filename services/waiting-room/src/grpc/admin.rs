//! `WaitingRoomAdminService`. Each call sets a value and is idempotent: its request id is required,
//! but not remembered.

use flashsale_errors::{Failure, Reason};
use flashsale_proto::waitingroom::{
    CloseRoomRequest, CloseRoomResponse, ConfigureRoomRequest, ConfigureRoomResponse,
    GetRoomRequest, GetRoomResponse, OpenRoomRequest, OpenRoomResponse, PauseRoomRequest,
    PauseRoomResponse, Room, RunDrawRequest, RunDrawResponse, SetRateRequest, SetRateResponse,
    waiting_room_admin_service_server::WaitingRoomAdminService,
};
use flashsale_service::wire;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    decode::{self, admission_ms, rate, sale_id, window},
    encode,
};
use crate::{
    app::{RoomAdmin, RoomError},
    domain::{RoomState, RoomView},
};

#[derive(Debug)]
pub(crate) struct Admin {
    rooms: RoomAdmin,
}

impl Admin {
    pub(crate) fn new(rooms: RoomAdmin) -> Self {
        Self { rooms }
    }

    async fn set_state(
        &self,
        request_id: &str,
        sale_id: &str,
        state: RoomState,
    ) -> Result<Option<Room>, Failure> {
        wire::request_id(request_id)?;
        let sale_id = decode::sale_id(sale_id)?;
        encoded(sale_id, self.rooms.set_state(sale_id, state).await)
    }
}

fn encoded(sale_id: Uuid, room: Result<RoomView, RoomError>) -> Result<Option<Room>, Failure> {
    Ok(Some(encode::room(sale_id, &room?)))
}

#[tonic::async_trait]
impl WaitingRoomAdminService for Admin {
    async fn configure_room(
        &self,
        request: Request<ConfigureRoomRequest>,
    ) -> Result<Response<ConfigureRoomResponse>, Status> {
        let request = request.into_inner();
        wire::request_id(&request.request_id)?;
        let sale_id = sale_id(&request.sale_id)?;
        let rate = rate(request.admissions_per_second)?;
        let admission_ms = admission_ms(request.admission_ttl.as_ref())?;
        let window = window(&request)?;
        let watches_stock = request.watches_stock;
        let configured =
            self.rooms.configure(sale_id, rate, admission_ms, window, watches_stock).await;
        let room = encoded(sale_id, configured)?;
        Ok(Response::new(ConfigureRoomResponse { room }))
    }

    async fn open_room(
        &self,
        request: Request<OpenRoomRequest>,
    ) -> Result<Response<OpenRoomResponse>, Status> {
        let OpenRoomRequest { request_id, sale_id } = request.into_inner();
        let room = self.set_state(&request_id, &sale_id, RoomState::Open).await?;
        Ok(Response::new(OpenRoomResponse { room }))
    }

    async fn pause_room(
        &self,
        request: Request<PauseRoomRequest>,
    ) -> Result<Response<PauseRoomResponse>, Status> {
        let PauseRoomRequest { request_id, sale_id } = request.into_inner();
        let room = self.set_state(&request_id, &sale_id, RoomState::Paused).await?;
        Ok(Response::new(PauseRoomResponse { room }))
    }

    async fn close_room(
        &self,
        request: Request<CloseRoomRequest>,
    ) -> Result<Response<CloseRoomResponse>, Status> {
        let CloseRoomRequest { request_id, sale_id } = request.into_inner();
        let room = self.set_state(&request_id, &sale_id, RoomState::Closed).await?;
        Ok(Response::new(CloseRoomResponse { room }))
    }

    async fn set_rate(
        &self,
        request: Request<SetRateRequest>,
    ) -> Result<Response<SetRateResponse>, Status> {
        let request = request.into_inner();
        wire::request_id(&request.request_id)?;
        let sale_id = sale_id(&request.sale_id)?;
        let rate = rate(request.admissions_per_second)?;
        let room = encoded(sale_id, self.rooms.set_rate(sale_id, rate).await)?;
        Ok(Response::new(SetRateResponse { room }))
    }

    async fn run_draw(
        &self,
        _: Request<RunDrawRequest>,
    ) -> Result<Response<RunDrawResponse>, Status> {
        Err(Failure::new(Reason::NotImplemented, "there is no draw yet").into())
    }

    async fn get_room(
        &self,
        request: Request<GetRoomRequest>,
    ) -> Result<Response<GetRoomResponse>, Status> {
        let sale_id = sale_id(&request.get_ref().sale_id)?;
        let room = encoded(sale_id, self.rooms.room(sale_id).await)?;
        Ok(Response::new(GetRoomResponse { room }))
    }
}
