//! Server reflection, in both versions.

use futures::StreamExt as _;
use prost::Message as _;
use tonic::Code;

use crate::support::{serve, server_config};

const SERVICES: [&str; 4] = [
    "flashsale.sale.v1.SaleService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

macro_rules! reflection_test {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest,
                server_reflection_response::MessageResponse,
            };
            let server = serve(server_config()).await;
            let mut client = ServerReflectionClient::new(server.channel().await);
            let mut questions = vec![MessageRequest::ListServices(String::new())];
            questions.extend(
                SERVICES.map(|service| MessageRequest::FileContainingSymbol(service.to_owned())),
            );
            let questions = questions.into_iter().map(|question| ServerReflectionRequest {
                message_request: Some(question),
                ..ServerReflectionRequest::default()
            });
            let answers = client
                .server_reflection_info(futures::stream::iter(questions.collect::<Vec<_>>()))
                .await
                .unwrap()
                .into_inner();
            let answers: Vec<_> =
                answers.map(|answer| answer.unwrap().message_response).collect().await;
            let Some(MessageResponse::ListServicesResponse(list)) = &answers[0] else {
                panic!("not a list: {:?}", answers[0]);
            };
            let mut listed: Vec<&str> = list.service.iter().map(|service| &*service.name).collect();
            listed.sort_unstable();
            assert_eq!(listed, SERVICES);
            for (answer, service) in answers[1..].iter().zip(SERVICES) {
                let Some(MessageResponse::FileDescriptorResponse(files)) = answer else {
                    panic!(
                        "no descriptors of {service}: {answer:?}, not even {:?}",
                        Code::NotFound
                    );
                };
                let file = &files.file_descriptor_proto[0];
                let file = prost_types::FileDescriptorProto::decode(&**file).unwrap();
                assert!(
                    service.starts_with(file.package()),
                    "{service} is not in {}",
                    file.package()
                );
            }
        }
    };
}

reflection_test!(reflection_v1_lists_and_describes_what_is_hosted_with_health, v1);
reflection_test!(reflection_v1alpha_lists_and_describes_what_is_hosted_with_health, v1alpha);
