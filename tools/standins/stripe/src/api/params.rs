//! Parameters of the POST endpoints: what docs.stripe.com/api lists for each, checked before
//! anything is executed (so that no idempotency key remembers a refusal).

use std::collections::BTreeMap;

use super::Endpoint;
use crate::cards::{self, TestMethod};
use crate::currencies;
use crate::errors::{ApiError, ErrorType};
use crate::form::Form;
use crate::intents::Automatic;

/// Parameters of docs.stripe.com/api/payment_intents/create.
const CREATE: &[&str] = &[
    "allowed_payment_method_types",
    "amount",
    "amount_details",
    "application_fee_amount",
    "automatic_payment_methods",
    "capture_method",
    "confirm",
    "confirmation_method",
    "confirmation_token",
    "currency",
    "customer",
    "customer_account",
    "description",
    "error_on_requires_action",
    "excluded_payment_method_types",
    "expand",
    "hooks",
    "mandate",
    "mandate_data",
    "metadata",
    "off_session",
    "on_behalf_of",
    "payment_details",
    "payment_method",
    "payment_method_configuration",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "radar_options",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
    "use_stripe_sdk",
];

/// Parameters of docs.stripe.com/api/payment_intents/confirm.
const CONFIRM: &[&str] = &[
    "allowed_payment_method_types",
    "amount_details",
    "amount_to_confirm",
    "capture_method",
    "confirmation_token",
    "error_on_requires_action",
    "excluded_payment_method_types",
    "expand",
    "hooks",
    "mandate",
    "mandate_data",
    "off_session",
    "payment_details",
    "payment_method",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "radar_options",
    "receipt_email",
    "return_url",
    "setup_future_usage",
    "shipping",
    "use_stripe_sdk",
];

/// Parameters of docs.stripe.com/api/payment_intents/cancel.
const CANCEL: &[&str] = &["cancellation_reason", "expand"];

/// Parameters of docs.stripe.com/api/refunds/create.
const REFUND: &[&str] = &[
    "amount",
    "charge",
    "currency",
    "customer",
    "expand",
    "instructions_email",
    "metadata",
    "origin",
    "payment_intent",
    "reason",
    "refund_application_fee",
    "reverse_transfer",
];

/// docs.stripe.com/api/payment_intents/cancel, `cancellation_reason`.
const CANCELLATION_REASONS: &[&str] =
    &["abandoned", "duplicate", "fraudulent", "requested_by_customer"];

/// docs.stripe.com/api/refunds/create, `reason`.
const REFUND_REASONS: &[&str] = &["duplicate", "fraudulent", "requested_by_customer"];

/// Parameters of docs.stripe.com/api/payment_intents/update.
const UPDATE: &[&str] = &[
    "allowed_payment_method_types",
    "amount",
    "amount_details",
    "application_fee_amount",
    "capture_method",
    "currency",
    "customer",
    "customer_account",
    "description",
    "excluded_payment_method_types",
    "expand",
    "hooks",
    "metadata",
    "payment_details",
    "payment_method",
    "payment_method_configuration",
    "payment_method_data",
    "payment_method_options",
    "payment_method_types",
    "receipt_email",
    "setup_future_usage",
    "shipping",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_data",
    "transfer_group",
];

/// Parameters of docs.stripe.com/api/confirmation_tokens/test_create.
const TOKEN: &[&str] = &[
    "expand",
    "payment_method",
    "payment_method_data",
    "payment_method_options",
    "return_url",
    "setup_future_usage",
    "shipping",
];

/// docs.stripe.com/api/confirmation_tokens/test_create, `setup_future_usage`.
const FUTURE_USAGES: &[&str] = &["off_session", "on_session"];

/// Methods whose buyers stay on the shop's page, 3-D Secure apart
/// (docs.stripe.com/payments/payment-methods/payment-method-support, "redirect").
const WITHOUT_REDIRECT: &[&str] = &["card", "link", "us_bank_account"];

/// docs.stripe.com/api/metadata: 50 keys, names to 40 characters, values to 500.
const METADATA_KEYS: usize = 50;
const METADATA_NAME_CHARS: usize = 40;
const METADATA_VALUE_CHARS: usize = 500;

/// The parameters of a confirmation.
#[derive(Debug, Clone)]
pub(crate) struct ConfirmParams {
    pub(crate) method: Option<MethodParam>,
    /// The id of a confirmation token.
    pub(crate) token: Option<String>,
    pub(crate) return_url: Option<String>,
    pub(crate) no_action_possible: bool,
}

/// `payment_method`: a test method's name, or the id of the one that is attached already.
#[derive(Debug, Clone)]
pub(crate) enum MethodParam {
    Test(&'static TestMethod),
    Id(String),
}

/// What an update does to metadata (docs.stripe.com/api/metadata): an empty value takes its key
/// out, and empty metadata all of them.
#[derive(Debug, Clone)]
pub(crate) struct MetadataChanges {
    clear: bool,
    values: BTreeMap<String, String>,
}

impl MetadataChanges {
    fn read(form: &Form) -> Option<Self> {
        let values = form.map("metadata");
        let clear = form.has("metadata");
        (clear || !values.is_empty()).then_some(Self { clear, values })
    }

    /// The metadata after the changes.
    ///
    /// # Errors
    /// The 400 for more of it than fits.
    pub(crate) fn over(
        self,
        before: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, ApiError> {
        let mut metadata = if self.clear { BTreeMap::new() } else { before.clone() };
        metadata.extend(self.values);
        fitting(metadata)
    }
}

/// A checked request that changes something.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Create {
        amount: i64,
        currency: String,
        metadata: BTreeMap<String, String>,
        description: Option<String>,
        payment_method_types: Vec<String>,
        allowed_types: Vec<String>,
        automatic: Option<Automatic>,
        needs_return_url: bool,
        confirm: bool,
        how: ConfirmParams,
    },
    Update {
        id: String,
        amount: Option<i64>,
        currency: Option<String>,
        description: Option<String>,
        metadata: Option<MetadataChanges>,
        method: Option<MethodParam>,
    },
    Confirm {
        id: String,
        how: ConfirmParams,
    },
    Cancel {
        id: String,
        reason: Option<String>,
    },
    Refund {
        charge: Option<String>,
        payment_intent: Option<String>,
        amount: Option<i64>,
        reason: Option<String>,
        metadata: BTreeMap<String, String>,
    },
    CreateToken {
        test: &'static TestMethod,
        return_url: Option<String>,
        setup_future_usage: Option<String>,
    },
}

impl Command {
    /// Checks the parameters of a POST.
    pub(crate) fn parse(
        endpoint: Endpoint,
        id: &str,
        form: &Form,
        version: &str,
    ) -> Result<Self, ApiError> {
        match endpoint {
            Endpoint::CreateIntent => {
                known(form, CREATE)?;
                no_longer_supported(form, version)?;
                Self::create(form)
            }
            Endpoint::ConfirmIntent => {
                known(form, CONFIRM)?;
                no_longer_supported(form, version)?;
                Ok(Self::Confirm { id: id.to_owned(), how: confirm_params(form)? })
            }
            Endpoint::CancelIntent => {
                known(form, CANCEL)?;
                let reason = one_of(form, "cancellation_reason", CANCELLATION_REASONS)?;
                Ok(Self::Cancel { id: id.to_owned(), reason })
            }
            Endpoint::UpdateIntent => {
                known(form, UPDATE)?;
                no_longer_supported(form, version)?;
                Self::update(id, form)
            }
            Endpoint::CreateRefund => Self::refund(form),
            Endpoint::CreateToken => Self::token(form),
            Endpoint::ListIntents
            | Endpoint::SearchIntents
            | Endpoint::GetIntent
            | Endpoint::ListRefunds
            | Endpoint::GetRefund
            | Endpoint::ListCharges
            | Endpoint::GetCharge
            | Endpoint::ListDisputes
            | Endpoint::GetDispute
            | Endpoint::ListEvents
            | Endpoint::GetEvent
            | Endpoint::GetToken
            | Endpoint::GetAccount => Err(ApiError::server("A read was posted.")),
        }
    }

    /// Whether this is an attempt to charge a card, which has a latency of its own.
    pub(crate) fn takes_money(&self) -> bool {
        match self {
            Self::Confirm { .. } => true,
            Self::Create { confirm, .. } => *confirm,
            Self::Update { .. }
            | Self::Cancel { .. }
            | Self::Refund { .. }
            | Self::CreateToken { .. } => false,
        }
    }

    fn create(form: &Form) -> Result<Self, ApiError> {
        let currency = currency(form)?.ok_or_else(|| missing("currency"))?;
        let amount = amount(form)?.ok_or_else(|| missing("amount"))?;
        currencies::check_charge(amount, &currency)?;
        let types = form.list("payment_method_types");
        let allowed_types = form.list("allowed_payment_method_types");
        let automatic = automatic(form)?;
        only_one(&[
            ("automatic_payment_methods", automatic.is_some()),
            ("allowed_payment_method_types", !allowed_types.is_empty()),
            ("payment_method_types", !types.is_empty()),
        ])?;
        let confirm = flag(form, "confirm")?.unwrap_or(false);
        let only_with_confirm =
            ["confirmation_token", "return_url", "off_session", "error_on_requires_action"];
        for only_with_confirm in only_with_confirm {
            if form.has(only_with_confirm) && !confirm {
                let message = format!(
                    "The parameter {only_with_confirm} cannot be passed when creating a \
                     PaymentIntent unless confirm is set to true."
                );
                return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
                    .field("param", only_with_confirm));
            }
        }
        // docs.stripe.com/api/payment_intents/create, payment_method_types: with neither list nor
        // choice, methods are enabled automatically (since version 2023-08-16).
        let types = if types.is_empty() { allowed_types.clone() } else { types };
        let automatic = match (automatic, types.is_empty()) {
            (None, true) => Some(Automatic { allow_redirects: true }),
            (chosen, _) => chosen,
        };
        let needs_return_url = automatic.is_some_and(|automatic| automatic.allow_redirects)
            || types.iter().any(|method| !WITHOUT_REDIRECT.contains(&method.as_str()));
        let types = if types.is_empty() { vec!["card".to_owned()] } else { types };
        Ok(Self::Create {
            amount,
            currency,
            metadata: metadata(form)?,
            description: form.get("description").map(str::to_owned),
            payment_method_types: types,
            allowed_types,
            automatic,
            needs_return_url,
            confirm,
            how: confirm_params(form)?,
        })
    }

    fn update(id: &str, form: &Form) -> Result<Self, ApiError> {
        only_automatic_capture(form)?;
        Ok(Self::Update {
            id: id.to_owned(),
            amount: amount(form)?,
            currency: currency(form)?,
            description: form.get("description").map(str::to_owned),
            metadata: MetadataChanges::read(form),
            method: method(form)?,
        })
    }

    fn token(form: &Form) -> Result<Self, ApiError> {
        known(form, TOKEN)?;
        let name = form.get("payment_method").ok_or_else(|| missing("payment_method"))?;
        let test = cards::by_name(name).ok_or_else(|| {
            ApiError::missing(400, "PaymentMethod", name, "payment_method").unstored()
        })?;
        Ok(Self::CreateToken {
            test,
            return_url: form.get("return_url").map(str::to_owned),
            setup_future_usage: one_of(form, "setup_future_usage", FUTURE_USAGES)?,
        })
    }

    fn refund(form: &Form) -> Result<Self, ApiError> {
        known(form, REFUND)?;
        let (charge, intent) = (form.get("charge"), form.get("payment_intent"));
        if charge.is_none() && intent.is_none() {
            let message = "One of the following params should be provided for this request: \
                           payment_intent or charge.";
            return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
                .code("parameter_missing"));
        }
        Ok(Self::Refund {
            charge: charge.map(str::to_owned),
            payment_intent: intent.map(str::to_owned),
            amount: amount(form)?,
            reason: one_of(form, "reason", REFUND_REASONS)?,
            metadata: metadata(form)?,
        })
    }
}

/// docs.stripe.com/error-codes#parameter-unknown.
fn known(form: &Form, names: &[&str]) -> Result<(), ApiError> {
    let Some(unknown) = form.first_unknown(names) else { return Ok(()) };
    let message = format!("Received unknown parameter: {unknown}");
    Err(ApiError::invalid(message, "parameter_unknown", unknown))
}

/// docs.stripe.com/changelog/endive/2026-09-30 ("Removes the payment method types parameter from
/// Payment Intents and Setup Intents"): from that version on a 400 with this code.
fn no_longer_supported(form: &Form, version: &str) -> Result<(), ApiError> {
    // A version begins with its date, as in `2026-09-30.endive`.
    if version < "2026-09-30" || form.list("payment_method_types").is_empty() {
        return Ok(());
    }
    let message = "payment_method_types is no longer supported as of API version 2026-09-30: use \
                   allowed_payment_method_types or automatic_payment_methods.";
    let code = "payment_method_types_no_longer_supported";
    Err(ApiError::invalid(message, code, "payment_method_types"))
}

/// docs.stripe.com/changelog/dahlia/2026-07-29/allowed-payment-method-types-parameter: the ways
/// to choose methods exclude each other.
fn only_one(choices: &[(&str, bool)]) -> Result<(), ApiError> {
    let given: Vec<&str> =
        choices.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    if given.len() < 2 {
        return Ok(());
    }
    let message = format!("You may only specify one of these parameters: {}.", given.join(", "));
    Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
        .field("param", given[0]))
}

/// docs.stripe.com/error-codes#parameter-missing.
fn missing(name: &str) -> ApiError {
    ApiError::invalid(format!("Missing required param: {name}."), "parameter_missing", name)
}

/// docs.stripe.com/error-codes#parameter-invalid-integer: a positive whole number.
fn amount(form: &Form) -> Result<Option<i64>, ApiError> {
    let Some(text) = form.get("amount") else { return Ok(None) };
    match text.parse::<i64>() {
        Ok(amount) if amount > 0 => Ok(Some(amount)),
        Ok(_) | Err(_) => {
            let message = format!("Invalid positive integer: {text}");
            Err(ApiError::invalid(message, "parameter_invalid_integer", "amount"))
        }
    }
}

/// A currency of Stripe's, in lower case.
fn currency(form: &Form) -> Result<Option<String>, ApiError> {
    let Some(code) = form.get("currency").map(str::to_lowercase) else { return Ok(None) };
    currencies::check_currency(&code)?;
    Ok(Some(code))
}

fn flag(form: &Form, name: &str) -> Result<Option<bool>, ApiError> {
    match form.get(name) {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => {
            let message = format!("Invalid boolean: {other}");
            Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
                .field("param", name))
        }
    }
}

fn one_of(form: &Form, name: &str, values: &[&str]) -> Result<Option<String>, ApiError> {
    let Some(value) = form.get(name) else { return Ok(None) };
    if values.contains(&value) {
        return Ok(Some(value.to_owned()));
    }
    let message = format!("Invalid {name}: must be one of {}", values.join(", "));
    Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message).field("param", name))
}

/// docs.stripe.com/api/payment_intents/create, automatic_payment_methods.
fn automatic(form: &Form) -> Result<Option<Automatic>, ApiError> {
    let members = form.map("automatic_payment_methods");
    if members.is_empty() {
        return Ok(None);
    }
    if flag(form, "automatic_payment_methods[enabled]")? != Some(true) {
        return Ok(None);
    }
    let redirects = "automatic_payment_methods[allow_redirects]";
    let allowed = one_of(form, redirects, &["always", "never"])?;
    Ok(Some(Automatic { allow_redirects: allowed.as_deref() != Some("never") }))
}

fn metadata(form: &Form) -> Result<BTreeMap<String, String>, ApiError> {
    fitting(form.map("metadata"))
}

/// The metadata without what is empty, if it is within its limits.
fn fitting(mut metadata: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    metadata.retain(|_, value| !value.is_empty());
    let fits = metadata.len() <= METADATA_KEYS
        && metadata.iter().all(|(name, value)| {
            name.chars().count() <= METADATA_NAME_CHARS
                && value.chars().count() <= METADATA_VALUE_CHARS
        });
    if fits {
        return Ok(metadata);
    }
    let message = format!(
        "Metadata can have up to {METADATA_KEYS} keys, with names up to {METADATA_NAME_CHARS} \
         characters and values up to {METADATA_VALUE_CHARS} characters."
    );
    Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
        .field("param", "metadata"))
}

/// Separate authorisation and capture is not imitated: refuse it rather than charge at once.
fn only_automatic_capture(form: &Form) -> Result<(), ApiError> {
    if form.get("capture_method").is_some_and(|method| method == "manual") {
        let message = "The stand-in does not imitate capture_method=manual.";
        return Err(ApiError::before_execution(400, ErrorType::InvalidRequest, message)
            .field("param", "capture_method"));
    }
    Ok(())
}

fn method(form: &Form) -> Result<Option<MethodParam>, ApiError> {
    let Some(name) = form.get("payment_method") else { return Ok(None) };
    match cards::by_name(name) {
        Some(test) => Ok(Some(MethodParam::Test(test))),
        None if name.starts_with("pm_3") => Ok(Some(MethodParam::Id(name.to_owned()))),
        None => Err(ApiError::missing(400, "PaymentMethod", name, "payment_method").unstored()),
    }
}

fn confirm_params(form: &Form) -> Result<ConfirmParams, ApiError> {
    only_automatic_capture(form)?;
    let off_session = form.get("off_session").is_some_and(|value| value != "false");
    let error_instead = flag(form, "error_on_requires_action")?.unwrap_or(false);
    Ok(ConfirmParams {
        method: method(form)?,
        token: form.get("confirmation_token").map(str::to_owned),
        return_url: form.get("return_url").map(str::to_owned),
        no_action_possible: off_session || error_instead,
    })
}
