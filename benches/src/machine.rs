//! What the figures were measured on: the machine, its settings, and the program.
//!
//! Read from `/proc` and `/sys`; what isn't readable is left out rather than guessed.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tickcast_feed::receiver::wall_clock;
use time::OffsetDateTime;

/// The machine, its settings, and the program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Its architecture, as the program was built for it.
    pub arch: String,
    /// Cores that the program may use.
    pub cores: Vec<usize>,
    /// Cores that the scheduler leaves alone (`isolcpus`).
    pub isolated: Option<String>,
    /// The first core's caches.
    pub caches: Vec<Cache>,
    /// The first core's frequency governor.
    pub governor: Option<String>,
    /// Whether it may go beyond its nominal frequency.
    pub turbo: Option<bool>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// Who runs the virtual machine, or that there is one; `None` = it doesn't look like one.
    pub virtual_machine: Option<String>,
    /// Whether programs get huge pages: `always`, `madvise` or `never`.
    pub transparent_huge_pages: Option<String>,
    /// Huge pages that are reserved.
    pub huge_pages: Option<u64>,
    /// The largest receive buffer without privileges, bytes.
    pub rmem_max: Option<u64>,
    /// The receive buffer of who asks for none, bytes.
    pub rmem_default: Option<u64>,
    /// Packets that wait for a core at most.
    pub netdev_max_backlog: Option<u64>,
    /// Programs that ran or wanted to, on average over the last minute, before anything was measured.
    pub load: Option<f64>,
    /// What was measured.
    pub program: Program,
    /// When, UTC.
    pub date: String,
}

/// A cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Level and kind, such as `L1d`.
    pub name: String,
    /// Its size, as the kernel writes it.
    pub size: String,
}

/// The program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// `release`, or `debug` where assertions are compiled in.
    pub profile: String,
    /// What it may use of the processor beyond the architecture's least, as far as it matters here.
    pub target_features: Vec<String>,
}

impl Program {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        let features = [
            ("sse4.2", cfg!(target_feature = "sse4.2")),
            ("avx", cfg!(target_feature = "avx")),
            ("avx2", cfg!(target_feature = "avx2")),
            ("bmi2", cfg!(target_feature = "bmi2")),
            ("avx512f", cfg!(target_feature = "avx512f")),
            ("neon", cfg!(target_feature = "neon")),
            ("sve", cfg!(target_feature = "sve")),
        ];
        let profile = match cfg!(debug_assertions) {
            true => "debug",
            false => "release",
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: profile.to_owned(),
            target_features: features
                .into_iter()
                .filter(|(_, has)| *has)
                .map(|(name, _)| name.to_owned())
                .collect(),
        }
    }
}

fn text(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

/// The first value of a `name : value` file.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// A field in kB of a file of `/proc`, in bytes.
fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let value = field(&text(path)?, name)?;
    Some(value.strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

/// The memory that programs can have without paging.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable")
}

/// Which of `always [madvise] never` is in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn caches() -> Vec<Cache> {
    let of = |index: u32| {
        let folder = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let read = |name: &str| text(format!("{folder}/{name}"));
        let kind = match read("type")?.as_str() {
            "Data" => "d",
            "Instruction" => "i",
            _ => "",
        };
        Some(Cache {
            name: format!("L{}{kind}", read("level")?),
            size: read("size")?,
        })
    };
    (0..8).map_while(of).collect()
}

fn turbo() -> Option<bool> {
    let intel = number("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| off == 0);
    intel.or_else(|| number("/sys/devices/system/cpu/cpufreq/boost").map(|on| on == 1))
}

fn virtual_machine(cpuinfo: &str) -> Option<String> {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    let names = ["sys_vendor", "product_name"]
        .into_iter()
        .filter_map(|name| text(format!("/sys/class/dmi/id/{name}")));
    let name = names.collect::<Vec<_>>().join(" ");
    let named = [
        "KVM",
        "QEMU",
        "VMware",
        "VirtualBox",
        "Xen",
        "Virtual Machine",
    ]
    .into_iter()
    .any(|known| name.contains(known));
    if !named && !flags.split_whitespace().any(|flag| flag == "hypervisor") {
        return None;
    }
    Some(match name.as_str() {
        "" => "yes".to_owned(),
        name => name.to_owned(),
    })
}

/// A time in seconds since 1970, as people write it.
fn date(seconds: u64) -> String {
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute()
    )
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn this() -> Self {
        let cpuinfo = text("/proc/cpuinfo").unwrap_or_default();
        let cpu = ["model name", "Processor", "CPU part"]
            .into_iter()
            .find_map(|name| field(&cpuinfo, name));
        Self {
            cpu: cpu.unwrap_or_else(|| "unknown".to_owned()),
            arch: std::env::consts::ARCH.to_owned(),
            cores: crate::threads::usable_cores(),
            isolated: text("/sys/devices/system/cpu/isolated"),
            caches: caches(),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            turbo: turbo(),
            memory_bytes: kilobytes("/proc/meminfo", "MemTotal"),
            kernel: text("/proc/sys/kernel/osrelease"),
            virtual_machine: virtual_machine(&cpuinfo),
            transparent_huge_pages: text("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| chosen(&text)),
            huge_pages: number("/proc/sys/vm/nr_hugepages"),
            rmem_max: number("/proc/sys/net/core/rmem_max"),
            rmem_default: number("/proc/sys/net/core/rmem_default"),
            netdev_max_backlog: number("/proc/sys/net/core/netdev_max_backlog"),
            load: text("/proc/loadavg")
                .and_then(|text| text.split_whitespace().next()?.parse().ok()),
            program: Program::this(),
            date: date(wall_clock() / 1_000_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_what_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise".to_owned()));
        assert_eq!(chosen("never"), None);
    }

    #[test]
    fn a_date_is_written_as_people_write_it() {
        assert_eq!(date(1_767_589_200), "2026-01-05 05:00 UTC");
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "model\t: 17\nmodel name\t: A: B\n";
        assert_eq!(field(text, "model name"), Some("A: B".to_owned()));
        assert_eq!(field(text, "name"), None);
    }
}
