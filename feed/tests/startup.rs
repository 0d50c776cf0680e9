//! What a thread asks of the system when it starts, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod multicast;

use multicast::{group, join};
use tickcast_feed::receiver::Lines;
use tickcast_feed::socket::{JoinConfig, MulticastSocket};
use tickcast_feed::startup::{Policy, Refusal, ThreadConfig};

/// No machine has it.
const NO_CORE: usize = 1_000_000;

fn lines(interface: &str, receive_buffer_bytes: usize) -> Option<Lines> {
    let config = JoinConfig {
        interface: interface.parse().unwrap(),
        receive_buffer_bytes,
        ..join(group(30))
    };
    match MulticastSocket::open(&config) {
        Ok(socket) => Some(Lines::new(vec![socket])),
        Err(error) => {
            println!("skipped: can't join on {interface}: {error}");
            None
        }
    }
}

#[test]
fn nothing_asked_is_one_short_line() {
    let startup = ThreadConfig::default().apply(None);
    assert_eq!(startup.to_string(), "not pinned");
    startup.check().unwrap();
}

#[test]
fn a_core_that_isnt_there_is_said_and_refused_only_by_policy() {
    for policy in [Policy::Warn, Policy::Refuse] {
        let config = ThreadConfig {
            core: Some(NO_CORE),
            policy,
            ..ThreadConfig::default()
        };
        let startup = config.apply(None);
        assert_eq!(startup.to_string(), "pinning to core 1000000 was refused");
        match (policy, startup.check()) {
            (Policy::Warn, Ok(())) => {}
            (Policy::Refuse, Err(Refusal::NotGranted(what))) => {
                assert_eq!(what, "pinning to core 1000000 was refused");
            }
            (_, result) => panic!("{policy:?}: {result:?}"),
        }
    }
}

#[test]
fn a_small_receive_buffer_on_loopback_is_only_said() {
    let Some(lines) = lines("127.0.0.1", 64 * 1024) else {
        return;
    };
    let config = ThreadConfig {
        receive_buffer_bytes: 64 * 1024,
        ..ThreadConfig::default()
    };
    let startup = config.apply(Some(&lines));
    assert_eq!(
        startup.to_string(),
        "not pinned, receive buffer 64 KiB of 64 KiB asked \
         (too small for a real interface: 8192 KiB)"
    );
    startup.check().unwrap();
}

#[test]
fn a_small_receive_buffer_on_a_real_interface_is_refused() {
    // The kernel's choice isn't loopback.
    let Some(lines) = lines("0.0.0.0", 64 * 1024) else {
        return;
    };
    let startup = ThreadConfig::default().apply(Some(&lines));
    let refusal = startup.check().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "line 0 has a receive buffer of 64 KiB, 8192 KiB are needed: raise net.core.rmem_max, or \
         lower receive_buffer_bytes_min"
    );
    let config = ThreadConfig {
        receive_buffer_bytes_min: 64 * 1024,
        ..ThreadConfig::default()
    };
    config.apply(Some(&lines)).check().unwrap();
}

#[test]
fn a_priority_is_granted_or_the_reason_is_said() {
    // On a thread of its own: it keeps the priority.
    std::thread::spawn(|| {
        let config = ThreadConfig {
            realtime_priority: Some(1),
            ..ThreadConfig::default()
        };
        let said = config.apply(None).to_string();
        println!("{said}");
        assert!(
            said == "not pinned, real-time priority 1"
                || said.starts_with("not pinned, real-time priority 1 was refused: "),
            "{said}"
        );
    })
    .join()
    .unwrap();
}

#[test]
fn memory_is_locked_or_the_reason_is_said() {
    let config = ThreadConfig {
        lock_memory: true,
        ..ThreadConfig::default()
    };
    let said = config.apply(None).to_string();
    println!("{said}");
    assert!(
        said == "not pinned, memory locked"
            || said.starts_with("not pinned, locking memory was refused: "),
        "{said}"
    );
}

#[test]
fn a_priority_that_doesnt_exist_is_refused() {
    let config = ThreadConfig {
        realtime_priority: Some(200),
        policy: Policy::Refuse,
        ..ThreadConfig::default()
    };
    let startup = config.apply(None);
    assert!(
        startup.to_string().contains("priority 200 was refused"),
        "{startup}"
    );
    startup.check().unwrap_err();
}
