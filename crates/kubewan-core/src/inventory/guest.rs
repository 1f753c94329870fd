//! A host that kubewan can't reach, as one more worker of an inventory: what its goals would be.

use super::names;
use super::{Host, Inventory, Role, Ssh};

impl Inventory {
    /// This inventory with one more worker, which is in no file.
    ///
    /// # Errors
    /// Says what is wrong with the name or the address, or which host has it already.
    pub fn with_worker(&self, name: &str, address: &str) -> Result<Inventory, String> {
        let length = name.len();
        if length > 63 {
            return Err(format!("`{name}` has {length} characters, 63 are allowed"));
        }
        names::dns_subdomain(name)
            .map_err(|reason| format!("a host cannot be named `{name}`: {reason}"))?;
        names::address(address)
            .map_err(|(reason, help)| format!("`{address}` is no address: {reason}; {help}"))?;
        for host in &self.hosts {
            if host.name == name {
                return Err(format!(
                    "{name} is in the inventory: `kubewan up` makes it a node, and needs nothing done by hand"
                ));
            }
            if host.address == address {
                return Err(format!("{address} is the address of {} in the inventory", host.name));
            }
        }
        let mut inventory = self.clone();
        inventory.hosts.push(Host::worker(name, address));
        Ok(inventory)
    }
}

impl Host {
    /// A worker of which nothing is said but its name and its address.
    pub fn worker(name: impl Into<String>, address: impl Into<String>) -> Host {
        Host {
            name: name.into(),
            address: address.into(),
            private_address: None,
            ssh: Ssh::default(),
            roles: vec![Role::Worker],
            labels: Default::default(),
            taints: Vec::new(),
            firewall: None,
            time: None,
            hostname: None,
            accept: None,
            kubelet_args: Default::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::samples;

    #[test]
    fn a_guest_has_a_name_and_an_address_of_its_own() {
        let inventory = samples::inventory(2);
        let with = |name: &str, address: &str| inventory.with_worker(name, address);
        let more = with("node07", "192.0.2.70").unwrap();
        assert_eq!(more.hosts.len(), 3);
        assert!(more.hosts[2].is_worker() && !more.hosts[2].is_control_plane());
        for (name, address, said) in [
            ("Node 7", "192.0.2.70", "cannot be named"),
            ("node07", "192.0.2.70:22", "ssh.port"),
            ("node07", "2001:db8::1", "IPv6"),
            ("node01", "192.0.2.70", "in the inventory"),
            ("node07", "198.51.100.20", "address of node01"),
            (&"a".repeat(64), "192.0.2.70", "64 characters"),
        ] {
            let error = with(name, address).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
