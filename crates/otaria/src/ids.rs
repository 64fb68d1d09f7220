//! The system's randomness behind the `Ids` port.

use otaria_ports::ids::Ids;

/// Bytes of the operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemIds;

impl Ids for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the server draws chance")]
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness no secret may be made: there is nothing to go on with.
        getrandom::fill(bytes).expect("the operating system gives randomness");
    }
}

#[cfg(test)]
mod tests {
    use otaria_ports::ids::contract;

    use super::SystemIds;

    #[test]
    fn the_systems_randomness_keeps_the_contract() {
        contract::nothing_is_drawn_twice(&SystemIds);
        contract::texts_are_plain_and_differ(&SystemIds);
    }
}
