//! The inventory file and what lies around it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kubewan_core::facts::Facts;
use kubewan_core::inventory::{self, Inventory, KubernetesSource};
use kubewan_core::registry::Registries;
use kubewan_fleet::bundle::{self, BundleDir};
use kubewan_fleet::dial::SshDial;
use kubewan_fleet::private;
use kubewan_fleet::supply::{self, Supply};

use crate::exit_code::Code;
use crate::failure::Failure;
use crate::report::{self, terminal::Terminal};

/// The operator's side of a cluster.
#[derive(Debug)]
pub struct Site {
    /// The inventory.
    pub inventory: Inventory,
    /// Its folder: relative paths in it start there.
    pub base: PathBuf,
}

impl Site {
    /// Reads and checks an inventory.
    pub fn read(path: &Path) -> Result<Site, Failure> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| {
            let next = "name one with `--file`, or make three servers to try with `kubewan lab up`";
            Failure::new(Code::Refused, format!("can't read {name}: {error}"), next)
        })?;
        let inventory = inventory::parse_bytes(&name, &bytes)
            .map_err(|errors| Failure::text(Code::Refused, errors.to_string()))?;
        let base = path.parent().filter(|base| !base.as_os_str().is_empty());
        Ok(Site { inventory, base: base.unwrap_or(Path::new(".")).to_owned() })
    }

    /// The bundle that the inventory asks for, with every file there and as long as it says; `None` where it asks for none, and
    /// [`Site::supply`] finds the rest.
    pub fn bundle(&self) -> Result<Option<BundleDir>, Failure> {
        if self.inventory.source() != KubernetesSource::Bundle {
            return Ok(None);
        }
        Ok(Some(bundle::find(&self.inventory.kubernetes, &self.base, &bundle::cache())?.whole()?))
    }

    /// What the files hold that its registries name: certificates and passwords.
    ///
    /// # Errors
    /// Refuses what is missing, is none of the kind, or can be read by everyone.
    pub fn registries(&self) -> Result<Registries, Failure> {
        private::read(&self.inventory, &self.base)
            .map_err(|findings| Failure::findings(Code::Refused, findings))
    }

    /// What the hosts take: all of a bundle, and what the inventory has come from elsewhere. `chosen`: the inventory with one
    /// server for each key.
    pub fn supply(
        &self,
        chosen: &Inventory,
        bundle: Option<BundleDir>,
        facts: &BTreeMap<String, Facts>,
    ) -> Result<Supply, Failure> {
        let registries = self.registries()?;
        let busy = report::busy("finding out what the hosts need");
        let elsewhere =
            supply::resolve(chosen, facts, &supply::cache(), &|what| report::note(what))
                .map_err(|findings| Failure::findings(Code::Failed, findings))?;
        drop(busy);
        let elsewhere = Supply { registries, ..elsewhere };
        Ok(match bundle {
            Some(bundle) => elsewhere.beside(bundle),
            None => elsewhere,
        })
    }

    /// How its hosts are connected to; what has to be asked is asked on the terminal, where there is one.
    pub fn dial(&self) -> SshDial {
        SshDial::new(self.base.clone(), Terminal::operator()).traced(report::trace())
    }
}
