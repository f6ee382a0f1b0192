//! The service on the wire: decode, call, encode.

mod decode;
mod encode;
mod errors;

use std::{pin::Pin, sync::Arc};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    CreateSaleRequest, CreateSaleResponse, EndSaleRequest, EndSaleResponse, GetSaleReportRequest,
    GetSaleReportResponse, GetSaleRequest, GetSaleResponse, ImportSaleRequest, ImportSaleResponse,
    ListSalesRequest, ListSalesResponse, PauseSaleRequest, PauseSaleResponse, ScheduleSaleRequest,
    ScheduleSaleResponse, StartSaleRequest, StartSaleResponse, UpdateSaleRequest,
    UpdateSaleResponse, WatchSaleRequest, WatchSaleResponse, sale_service_server::SaleService,
};
use flashsale_service::{Drain, page};
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use crate::app::{reports::Reports, sales::Sales, watches::Watches};

/// The list of sales, for its page tokens.
const LIST: [&str; 1] = ["sales"];

/// `flashsale.sale.v1.SaleService`.
#[derive(Debug)]
pub struct Grpc {
    sales: Sales,
    reports: Arc<Reports>,
    watches: Arc<Watches>,
    drain: Drain,
}

impl Grpc {
    /// Over the control plane.
    pub fn new(sales: Sales, reports: Arc<Reports>, watches: Arc<Watches>, drain: Drain) -> Self {
        Self { sales, reports, watches, drain }
    }
}

fn not_built(rpc: &str) -> Status {
    Failure::new(Reason::NotImplemented, format!("{rpc} is not built yet")).into()
}

#[tonic::async_trait]
impl SaleService for Grpc {
    async fn create_sale(
        &self,
        request: Request<CreateSaleRequest>,
    ) -> Result<Response<CreateSaleResponse>, Status> {
        let (request, asked) = decode::create(request.into_inner())?;
        let sale = self.sales.create(&request, asked).await.map_err(errors::failure)?;
        Ok(Response::new(CreateSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn update_sale(
        &self,
        _: Request<UpdateSaleRequest>,
    ) -> Result<Response<UpdateSaleResponse>, Status> {
        Err(not_built("UpdateSale"))
    }

    async fn import_sale(
        &self,
        request: Request<ImportSaleRequest>,
    ) -> Result<Response<ImportSaleResponse>, Status> {
        let (request, asked) = decode::import(request.into_inner())?;
        let Some(request) = request else {
            let imported = self.sales.preview(asked).await.map_err(errors::failure)?;
            let preview = Some(encode::preview(&imported, encode::Rows::All));
            return Ok(Response::new(ImportSaleResponse { sale: None, preview }));
        };
        let (sale, imported) = self.sales.import(&request, asked).await.map_err(errors::failure)?;
        let preview = imported.map(|imported| encode::preview(&imported, encode::Rows::LeftOut));
        Ok(Response::new(ImportSaleResponse { sale: Some(encode::sale(&sale)), preview }))
    }

    async fn schedule_sale(
        &self,
        _: Request<ScheduleSaleRequest>,
    ) -> Result<Response<ScheduleSaleResponse>, Status> {
        Err(not_built("ScheduleSale"))
    }

    async fn start_sale(
        &self,
        request: Request<StartSaleRequest>,
    ) -> Result<Response<StartSaleResponse>, Status> {
        let asked = request.into_inner();
        let (request, id) = decode::change("start", &asked.request_id, &asked.sale_id)?;
        let sale = self.sales.start(&request, id).await.map_err(errors::failure)?;
        Ok(Response::new(StartSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn pause_sale(
        &self,
        _: Request<PauseSaleRequest>,
    ) -> Result<Response<PauseSaleResponse>, Status> {
        Err(not_built("PauseSale"))
    }

    async fn end_sale(
        &self,
        request: Request<EndSaleRequest>,
    ) -> Result<Response<EndSaleResponse>, Status> {
        let asked = request.into_inner();
        let (request, id) = decode::change("end", &asked.request_id, &asked.sale_id)?;
        let sale = self.sales.end(&request, id).await.map_err(errors::failure)?;
        Ok(Response::new(EndSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn get_sale(
        &self,
        request: Request<GetSaleRequest>,
    ) -> Result<Response<GetSaleResponse>, Status> {
        let id = decode::sale_id(&request.into_inner().sale_id)?;
        let sale = self.sales.get(id).await.map_err(errors::failure)?;
        Ok(Response::new(GetSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn get_sale_report(
        &self,
        request: Request<GetSaleReportRequest>,
    ) -> Result<Response<GetSaleReportResponse>, Status> {
        let id = decode::sale_id(&request.into_inner().sale_id)?;
        let report = self.reports.of(id).await.map_err(errors::failure)?;
        Ok(Response::new(GetSaleReportResponse { report: Some(encode::report(&report)) }))
    }

    async fn list_sales(
        &self,
        request: Request<ListSalesRequest>,
    ) -> Result<Response<ListSalesResponse>, Status> {
        let asked = request.into_inner();
        let size = decode::page_size(asked.page_size)?;
        let after = page::key(&LIST, &asked.page_token)?;
        let (sales, next) = self.sales.list(size, after).await.map_err(errors::failure)?;
        Ok(Response::new(ListSalesResponse {
            sales: sales.iter().map(encode::sale).collect(),
            next_page_token: page::token(&LIST, next.as_ref()),
        }))
    }

    type WatchSaleStream = Pin<Box<dyn Stream<Item = Result<WatchSaleResponse, Status>> + Send>>;

    async fn watch_sale(
        &self,
        request: Request<WatchSaleRequest>,
    ) -> Result<Response<Self::WatchSaleStream>, Status> {
        let id = decode::sale_id(&request.into_inner().sale_id)?;
        let sales = self.watches.watch(id, &self.drain).await.map_err(errors::failure)?;
        let answers = sales.map(|sale| Ok(WatchSaleResponse { sale: Some(encode::sale(&sale)) }));
        Ok(Response::new(answers.boxed()))
    }
}
