//! prost's codec with buffers that fit our messages, and with a look at each request that it has
//! decoded ([`crate::access`]).

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstCodec;

use crate::access::{self, Scoped};

/// The initial size of a call's buffers, in bytes; a longer message makes them grow. tonic's
/// default is 8 KiB, which each open stream keeps as long as it lasts. Most messages have some
/// hundred bytes.
const BUFFER: usize = 1_024;
/// How many bytes of a stream are encoded before they are flushed: tonic's default.
const YIELD: usize = 32 * 1_024;

/// The codec of all our clients and servers.
#[derive(Debug, Clone)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Scoped + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = Inspecting<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, YIELD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        Inspecting(ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, YIELD)))
    }
}

/// Hands on what was decoded once it has been inspected.
#[derive(Debug, Clone)]
pub struct Inspecting<D>(D);

impl<D> Decoder for Inspecting<D>
where
    D: Decoder<Error = Status>,
    D::Item: Scoped,
{
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        let message = self.0.decode(source)?;
        if let Some(message) = &message {
            access::inspect(message)?;
        }
        Ok(message)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
