//! The methods there are, from the descriptors of the contract.

use std::{collections::HashMap, sync::LazyLock};

use flashsale_proto::access::{RULES, Rule};
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Everything a process serves, for reflection and for [`find`].
pub(crate) const DESCRIPTORS: [&[u8]; 2] =
    [flashsale_proto::DESCRIPTORS, tonic_health::pb::FILE_DESCRIPTOR_SET];

/// Stands for every method that is not in the contract, as in OpenTelemetry's conventions.
pub(crate) const OTHERS: &str = "_OTHER";

/// One method of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Method {
    /// As in `flashsale.sale.v1.SaleService/GetSale`.
    pub(crate) name: String,
    /// Whether the answer or the request is a stream, which has no deadline of its own.
    pub(crate) streams: bool,
    /// Whether the request is one, of which each message has a bound of its own.
    pub(crate) takes_stream: bool,
    /// Who may call it. Health, which is gRPC's own, has none.
    pub(crate) rule: Option<&'static Rule>,
}

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let mut methods = HashMap::new();
    for encoded in DESCRIPTORS {
        // Both are compiled in; a set that did not decode would fail the tests of this file.
        let files = FileDescriptorSet::decode(encoded).map(|set| set.file).unwrap_or_default();
        for file in files {
            for service in &file.service {
                let full_name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let name = format!("{full_name}/{}", method.name());
                    let takes_stream = method.client_streaming();
                    let streams = takes_stream || method.server_streaming();
                    let path = format!("/{name}");
                    let rule = RULES.iter().find(|rule| rule.path == path);
                    methods.insert(path, Method { name, streams, takes_stream, rule });
                }
            }
        }
    }
    methods
});

/// The method behind the path of a request, if the contract has it.
pub(crate) fn find(path: &str) -> Option<&'static Method> {
    METHODS.get(path)
}

/// All methods of the contract.
pub(crate) fn all() -> impl Iterator<Item = &'static Method> {
    METHODS.values()
}

/// Whether `path` belongs to gRPC itself (health, reflection) rather than to one of our services.
pub(crate) fn is_infrastructure(path: &str) -> bool {
    path.starts_with("/grpc.")
}

/// Whether the answer or the request is a stream. Those of reflection, which has no descriptors
/// here, are.
pub(crate) fn streams(path: &str) -> bool {
    find(path).map_or_else(|| path.starts_with("/grpc.reflection."), |method| method.streams)
}

/// Whether the request of a method of the contract is a stream.
pub(crate) fn takes_stream(path: &str) -> bool {
    find(path).is_some_and(|method| method.takes_stream)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn streams_are_told_from_single_answers() {
        assert!(streams("/flashsale.sale.v1.SaleService/WatchSale"));
        assert!(!streams("/flashsale.sale.v1.SaleService/GetSale"));
        assert!(!takes_stream("/flashsale.sale.v1.SaleService/WatchSale"));
        let import = "/flashsale.sale.v1.SaleService/ImportSaleStream";
        assert!(streams(import) && takes_stream(import));
        assert!(streams("/grpc.health.v1.Health/Watch"));
        assert!(streams("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"));
        assert!(find("/flashsale.sale.v1.SaleService/Steal").is_none());
    }
}
