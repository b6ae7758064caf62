//! What callers learn of the API without its files: `grpc.reflection`, in both
//! versions that tools speak.

use tonic_reflection::server::Builder;
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};
use tonic_reflection::server::v1alpha;
use vmpool_proto::v1::FILE_DESCRIPTOR_SET;

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

pub(super) fn v1() -> ServerReflectionServer<impl ServerReflection> {
    builder().build_v1().expect(WHOLE)
}

pub(super) fn v1alpha() -> v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection> {
    builder().build_v1alpha().expect(WHOLE)
}

const WHOLE: &str = "the descriptions were made with this program";
