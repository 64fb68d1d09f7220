//! The names of all methods, taken from the descriptors: what is counted, limited and logged has a name
//! from this closed list.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use otaria_proto::FILE_DESCRIPTOR_SET;
use prost::Message;
use prost_types::FileDescriptorSet;

/// Services that anybody may call: they tell nothing that belongs to an account.
const OPEN: [&str; 3] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

static METHODS: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    // Our own build wrote it: if it cannot be read there is nothing to serve.
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut methods = BTreeMap::new();
    for file in files.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                // Once a process, and as many as the API has: the names live as long as it does.
                let name: &'static str = Box::leak(method.name().to_owned().into_boxed_str());
                methods.insert(path, name);
            }
        }
    }
    methods
});

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// One of ours, by its name: the action as the API spells it.
    Ours(&'static str),
    /// Health or reflection.
    Open,
    /// Nowhere.
    Unknown,
}

/// The method behind a request's path.
pub(crate) fn of(path: &str) -> Method {
    match METHODS.get(path) {
        Some(name) => Method::Ours(name),
        None if OPEN.iter().any(|service| path.starts_with(service)) => Method::Open,
        None => Method::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_have_the_names_of_the_api() {
        let create = "/otaria.v1.OtaJobService/CreateOTAStaticUpgradeJob";
        assert_eq!(of(create), Method::Ours("CreateOTAStaticUpgradeJob"));
        assert_eq!(of("/grpc.health.v1.Health/Check"), Method::Open);
        assert_eq!(of("/otaria.v1.OtaJobService/Nonsense"), Method::Unknown);
        assert!(METHODS.len() > 50);
    }
}
