//! The service on the wire: decode, call, encode.

mod check;
mod decode;
mod encode;
mod errors;
mod upload;

use std::{pin::Pin, sync::Arc};

use flashsale_proto::sale::{
    CancelSaleRequest, CancelSaleResponse, CheckSaleRequest, CheckSaleResponse, CreateSaleRequest,
    CreateSaleResponse, EndSaleRequest, EndSaleResponse, ExportSaleRequest, ExportSaleResponse,
    GetSaleReportRequest, GetSaleReportResponse, GetSaleRequest, GetSaleResponse,
    ImportSaleRequest, ImportSaleResponse, ImportSaleStreamRequest, ImportSaleStreamResponse,
    ListSaleChangesRequest, ListSaleChangesResponse, ListSalesRequest, ListSalesResponse,
    PauseSaleRequest, PauseSaleResponse, ScheduleSaleRequest, ScheduleSaleResponse,
    StartSaleRequest, StartSaleResponse, UpdateSaleRequest, UpdateSaleResponse, WatchSaleRequest,
    WatchSaleResponse, sale_service_server::SaleService,
};
use flashsale_service::{Drain, page};
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
pub use upload::UploadBounds;

use self::upload::Upload;
use crate::app::{
    check::Checks, error::SaleError, export::Exports, reports::Reports, sales::Sales,
    uploads::Reading, watches::Watches,
};

/// The list of sales, for its page tokens.
const LIST: [&str; 1] = ["sales"];

/// `flashsale.sale.v1.SaleService`.
#[derive(Debug)]
pub struct Grpc {
    pub(crate) sales: Sales,
    pub(crate) reports: Arc<Reports>,
    pub(crate) exports: Exports,
    pub(crate) watches: Arc<Watches>,
    pub(crate) checks: Checks,
    pub(crate) uploads: UploadBounds,
    pub(crate) drain: Drain,
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
        request: Request<UpdateSaleRequest>,
    ) -> Result<Response<UpdateSaleResponse>, Status> {
        let (request, id, asked) = decode::update(request.into_inner())?;
        let asked = asked.map_err(|problems| errors::failure(SaleError::Invalid(problems)))?;
        let sale = self.sales.update(&request, id, &asked).await.map_err(errors::failure)?;
        Ok(Response::new(UpdateSaleResponse { sale: Some(encode::sale(&sale)) }))
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

    async fn import_sale_stream(
        &self,
        request: Request<Streaming<ImportSaleStreamRequest>>,
    ) -> Result<Response<ImportSaleStreamResponse>, Status> {
        let mut upload = Upload::new(request.into_inner(), self.uploads);
        let (request, mut asked) = decode::import(upload.import().await?)?;
        // Taken before anything of a file is kept.
        let place = self.sales.readers().place().await.map_err(errors::failure)?;
        asked.import.stock = Some(upload.stock().await?).filter(|stock| !stock.is_empty());
        let mut reading = Reading::begin(asked, place);
        while let Some(part) = upload.content().await? {
            if !reading.take(part).await {
                break;
            }
        }
        let export = reading.end().await.map_err(errors::failure)?;
        let Some(request) = request else {
            let imported = export.preview().map_err(errors::failure)?;
            let preview = Some(encode::preview(&imported, encode::Rows::All));
            return Ok(Response::new(ImportSaleStreamResponse { sale: None, preview }));
        };
        let request = decode::streamed(request, upload.into_digest());
        let imported = self.sales.import_read(&request, export).await;
        let (sale, imported) = imported.map_err(errors::failure)?;
        let preview = imported.map(|imported| encode::preview(&imported, encode::Rows::LeftOut));
        Ok(Response::new(ImportSaleStreamResponse { sale: Some(encode::sale(&sale)), preview }))
    }

    async fn schedule_sale(
        &self,
        request: Request<ScheduleSaleRequest>,
    ) -> Result<Response<ScheduleSaleResponse>, Status> {
        let (request, id, window, shared) = decode::schedule(request.into_inner())?;
        let sale = self.sales.schedule(&request, id, window, shared).await;
        let sale = sale.map_err(errors::failure)?;
        Ok(Response::new(ScheduleSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn start_sale(
        &self,
        request: Request<StartSaleRequest>,
    ) -> Result<Response<StartSaleResponse>, Status> {
        let (request, id, shared) = decode::start(&request.into_inner())?;
        let sale = self.sales.start(&request, id, shared).await.map_err(errors::failure)?;
        Ok(Response::new(StartSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn pause_sale(
        &self,
        request: Request<PauseSaleRequest>,
    ) -> Result<Response<PauseSaleResponse>, Status> {
        let asked = request.into_inner();
        let (request, id) = decode::change("pause", &asked.request_id, &asked.sale_id)?;
        let sale = self.sales.pause(&request, id).await.map_err(errors::failure)?;
        Ok(Response::new(PauseSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn cancel_sale(
        &self,
        request: Request<CancelSaleRequest>,
    ) -> Result<Response<CancelSaleResponse>, Status> {
        let asked = request.into_inner();
        let (request, id) = decode::change("cancel", &asked.request_id, &asked.sale_id)?;
        let sale = self.sales.cancel(&request, id).await.map_err(errors::failure)?;
        Ok(Response::new(CancelSaleResponse { sale: Some(encode::sale(&sale)) }))
    }

    async fn list_sale_changes(
        &self,
        request: Request<ListSaleChangesRequest>,
    ) -> Result<Response<ListSaleChangesResponse>, Status> {
        let asked = request.into_inner();
        let id = decode::sale_id(&asked.sale_id)?;
        let size = decode::page_size(asked.page_size)?;
        let sale = id.to_string();
        let list = ["sale-changes", sale.as_str()];
        let before = page::key(&list, &asked.page_token)?;
        let (past, next) = self.sales.history(id, size, before).await.map_err(errors::failure)?;
        Ok(Response::new(ListSaleChangesResponse {
            changes: past.iter().map(encode::change).collect(),
            next_page_token: page::token(&list, next.as_ref()),
        }))
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

    type ExportSaleStream = Pin<Box<dyn Stream<Item = Result<ExportSaleResponse, Status>> + Send>>;

    async fn export_sale(
        &self,
        request: Request<ExportSaleRequest>,
    ) -> Result<Response<Self::ExportSaleStream>, Status> {
        let (id, export) = decode::export(request.into_inner())?;
        let parts = self.exports.write(id, export).await.map_err(errors::failure)?;
        let answers = parts.map(|part| part.map(encode::part).map_err(errors::failure));
        Ok(Response::new(answers.boxed()))
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

    async fn check_sale(
        &self,
        request: Request<CheckSaleRequest>,
    ) -> Result<Response<CheckSaleResponse>, Status> {
        let id = decode::sale_id(&request.into_inner().sale_id)?;
        let checked = self.checks.of(id).await.map_err(errors::failure)?;
        Ok(Response::new(check::response(&checked)))
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
