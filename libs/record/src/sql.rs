//! The states as columns of Postgres, which are texts.

use sqlx::{
    Decode, Postgres, Type,
    error::BoxDynError,
    postgres::{PgTypeInfo, PgValueRef},
};

use crate::{OrderState, PaymentAction, PaymentEndReason, PaymentState, RefundState, SaleState};

macro_rules! column {
    ($($type:ty),+) => {$(
        impl Type<Postgres> for $type {
            fn type_info() -> PgTypeInfo {
                <String as Type<Postgres>>::type_info()
            }

            fn compatible(ty: &PgTypeInfo) -> bool {
                <String as Type<Postgres>>::compatible(ty)
            }
        }

        impl Decode<'_, Postgres> for $type {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                Ok(<String as Decode<Postgres>>::decode(value)?.try_into()?)
            }
        }
    )+};
}

column!(OrderState, PaymentAction, PaymentEndReason, PaymentState, RefundState, SaleState);
