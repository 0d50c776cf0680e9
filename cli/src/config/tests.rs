use super::*;

const GOOD: &str = r#"
listen = "127.0.0.1:9000"
metrics_listen = "127.0.0.1:9001"
[[channel]]
name = "totalview"
protocol = "moldudp64/itch50"
interface = "127.0.0.1"
shards = 2
cores = [1, 2, 3]
wait = "adaptive"
[[channel.line]]
group = "233.54.12.111:26477"
[[channel.line]]
group = "233.49.196.111:26477"
interface = "10.0.0.1"
sources = ["10.0.0.9"]
[channel.recovery]
request_servers = ["10.0.0.1:18001", "10.0.0.2:18001"]
snapshot_servers = ["10.0.0.1:18100"]
username = "TICK01"
reorder_wait = "500us"
held_messages_max = 1_000
"#;

fn machine() -> Machine {
    Machine {
        cores: vec![0, 1, 2, 3],
        isolated: Some(vec![2, 3]),
        receive_buffer_max: Some(1 << 20),
        priority_max: Some(0),
        memlock_max: Some(1 << 20),
    }
}

fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    Config::parse(text, Path::new(""), Some(&machine()))
}

/// What is said about a text, each mistake with its line.
fn said(text: &str) -> Vec<String> {
    parse(text)
        .expect_err("it should have been refused")
        .iter()
        .map(|mistake| format!("{}: {mistake}", mistake.line.unwrap_or(0)))
        .collect()
}

fn examples() -> Vec<(PathBuf, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut examples: Vec<_> = fs::read_dir(docs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".example.toml"))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    examples.sort();
    assert!(examples.len() >= 3, "{examples:?}");
    examples
}

#[test]
fn a_whole_channel_is_read_and_the_rest_has_its_defaults() {
    let config = parse(GOOD).unwrap();
    assert_eq!(config.listen.port(), 9000);
    let channel = &config.channels[0];
    assert_eq!((channel.venue.as_str(), channel.shards), ("XNAS", 2));
    assert_eq!(channel.cores, [1, 2, 3]);
    assert_eq!(
        (channel.wait, channel.spin),
        (Wait::Adaptive, Some(Nanos::us(50)))
    );
    assert_eq!(channel.receive_buffer, Bytes::mib(32));
    let [a, b] = channel.lines.as_slice() else {
        panic!("{:?}", channel.lines);
    };
    assert_eq!((a.name.as_str(), b.name.as_str()), ("A", "B"));
    assert_eq!(a.interface.to_string(), "127.0.0.1");
    assert_eq!(b.interface.to_string(), "10.0.0.1");
    assert_eq!(b.sources.len(), 1);
    let recovery = &channel.recovery;
    assert_eq!(recovery.request_servers.len(), 2);
    assert_eq!(recovery.reorder_wait, Nanos::us(500));
    assert_eq!(recovery.held_messages_max, 1_000);
    assert_eq!(recovery.held_bytes_max, Bytes::mib(8));
    assert_eq!(recovery.line_down, Nanos::ms(3_000));
}

#[test]
fn what_is_wrong_is_named_with_its_line_section_key_value_and_rule() {
    for (from, to, expected) in [
        (
            "wait = \"adaptive\"",
            "waits = 1",
            "10: totalview: waits = 1: unknown key; there is name, protocol,",
        ),
        (
            "cores = [1, 2, 3]",
            "cores = [1, 2, 9]",
            "9: totalview: cores = [1, 2, 9]: 9 can't be had: this machine lets us use [0, 1, 2, 3]",
        ),
        (
            "cores = [1, 2, 3]",
            "cores = [1, 2]",
            "9: totalview: cores = [1, 2]: 3 threads (the receiver and the shards) need 3 cores",
        ),
        (
            "cores = [1, 2, 3]",
            "cores = [1, 2, 1]",
            "9: totalview: cores = [1, 2, 1]: 1 is taken twice",
        ),
        (
            "moldudp64/itch50",
            "fix",
            "6: totalview: protocol = \"fix\": has to be one of \"moldudp64/itch50\"",
        ),
        (
            "233.49.196.111:26477",
            "10.0.0.1:1",
            "14: totalview line B: group = \"10.0.0.1:1\": no multicast group",
        ),
        (
            "233.49.196.111:26477",
            "233.54.12.111:26477",
            "14: totalview line B: group = \"233.54.12.111:26477\": another line has this",
        ),
        (
            "[\"10.0.0.9\"]",
            "[\"::1\"]",
            "16: totalview line B: sources = [\"::1\"]",
        ),
        (
            "\"totalview\"",
            "\"\"",
            "5: channel 1: name = \"\": has to be 1 to 64",
        ),
        (
            "name = \"totalview\"",
            "",
            "4: channel 1: name: missing: has to be 1 to 64",
        ),
        (
            "shards = 2",
            "shards = 0",
            "8: totalview: shards = 0: has to be a whole number from 1 to 32",
        ),
        (
            "shards = 2",
            "venue = \"Nasdaq\"",
            "8: totalview: venue = \"Nasdaq\": has to be a market identifier code",
        ),
        (
            "127.0.0.1:9001",
            "0.0.0.0:9001",
            "3: metrics_listen = \"0.0.0.0:9001\": has to be a loopback address",
        ),
        (
            "127.0.0.1:9001",
            "127.0.0.1:9000",
            "3: metrics_listen = \"127.0.0.1:9000\": has to be a loopback address and a port other",
        ),
        (
            "reorder_wait = \"500us\"",
            "reorder_wait = 500",
            "21: totalview recovery: reorder_wait = 500: has to be a duration from \"0ns\" to \"1s\"",
        ),
        (
            "reorder_wait = \"500us\"",
            "line_silent = \"5s\"",
            "17: totalview recovery: line_down: it has to be above line_silent, which is 5s",
        ),
        (
            "reorder_wait = \"500us\"",
            "gap_age_max = \"20ms\"",
            "21: totalview recovery: gap_age_max = \"20ms\": below request_timeout",
        ),
        (
            "\"10.0.0.1:18001\", ",
            "\"10.0.0.1\", ",
            "18: totalview recovery: request_servers",
        ),
        (
            "TICK01",
            "seven77",
            "20: totalview recovery: username = \"seven77\"",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let said = said(&GOOD.replace(from, to));
        assert!(
            said.iter().any(|line| line.starts_with(expected)),
            "{expected}\n{said:#?}"
        );
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    let text = GOOD
        .replace("127.0.0.1:9000", "nowhere")
        .replace("\"adaptive\"", "\"never\"")
        .replace("233.54.12.111", "1.2.3.4")
        .replace("500us", "soon");
    let said = said(&text);
    let lines: Vec<&str> = said
        .iter()
        .filter_map(|line| line.split(':').next())
        .collect();
    assert_eq!(lines, ["2", "10", "12", "21"], "{said:#?}");
}

#[test]
fn a_file_that_is_no_toml_or_has_no_channel_is_refused() {
    assert!(
        said("listen = \n")[0].starts_with("1: "),
        "{:?}",
        said("listen = \n")
    );
    let expected = "1: channel: missing: has to be 1 to 1024 sections [[channel]]";
    assert_eq!(said(""), [expected]);
    assert_eq!(
        said("channel = 3"),
        ["1: channel: has to be 1 to 1024 sections [[channel]]"]
    );
    let missing = Config::read(Path::new("/nowhere/tickcast.toml"), None).unwrap_err();
    assert_eq!(missing[0].line, None);
}

#[test]
fn two_channels_share_neither_name_nor_group_nor_core() {
    let (_, channel) = GOOD.split_once("[[channel]]").unwrap();
    let said = said(&format!("{GOOD}[[channel]]{channel}"));
    for part in [
        "another channel has this name",
        "another line has this group and port",
        "1 is taken twice, first by totalview",
    ] {
        assert!(
            said.iter().any(|line| line.contains(part)),
            "{part}\n{said:#?}"
        );
    }
}

#[test]
fn the_old_form_is_refused() {
    let said = said(
        "[[channel]]\nname = 'x'\nprotocol = 'moldudp64/itch50'\ngroups = ['239.1.1.1:5']\ninterface = '127.0.0.1'\nspin = true",
    );
    assert!(said[0].starts_with("1: x: line: missing"), "{said:#?}");
    assert!(
        said[1].starts_with("4: x: groups: unknown key"),
        "{said:#?}"
    );
    assert!(
        said[2].starts_with("6: x: spin = true: has to be a duration"),
        "{said:#?}"
    );
}

#[test]
fn every_example_is_read_and_so_is_what_it_has_in_comments() {
    for (path, text) in examples() {
        let config = Config::parse(&text, Path::new(""), None);
        assert!(config.is_ok(), "{}: {config:#?}", path.display());
        let uncommented: String = text
            .lines()
            .map(|line| {
                let key = line.strip_prefix("# ").filter(|rest| {
                    rest.split_once(" = ").is_some_and(|(key, _)| {
                        key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
                    })
                });
                format!("{}\n", key.unwrap_or(line))
            })
            .collect();
        let config = Config::parse(&uncommented, Path::new(""), None);
        assert!(config.is_ok(), "{}: {config:#?}", path.display());
    }
}

#[test]
fn the_example_on_loopback_is_the_simulated_exchange() {
    let (_, text) = examples()
        .into_iter()
        .find(|(path, _)| path.ends_with("loopback.example.toml"))
        .unwrap();
    let config = Config::parse(&text, Path::new(""), None).unwrap();
    let channel = &config.channels[0];
    let groups: Vec<String> = channel
        .lines
        .iter()
        .map(|line| line.group.to_string())
        .collect();
    assert_eq!(groups, ["239.255.77.1:31001", "239.255.77.2:31002"]);
    assert_eq!(
        channel.recovery.request_servers[0].to_string(),
        "127.0.0.1:31010"
    );
    assert_eq!(
        channel.recovery.snapshot_servers[0].to_string(),
        "127.0.0.1:31011"
    );
}

#[test]
fn what_is_printed_is_read_as_the_same() {
    let mut all: Vec<String> = examples().into_iter().map(|(_, text)| text).collect();
    all.push(GOOD.to_owned());
    for text in all {
        let config = Config::parse(&text, Path::new(""), None).unwrap();
        let printed = toml::to_string(&config).unwrap();
        let again = Config::parse(&printed, Path::new(""), None);
        assert_eq!(again, Ok(config), "{printed}");
    }
}

#[test]
fn the_page_has_the_table_of_all_keys() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let tables = tables();
    assert!(
        page.contains(tables.trim_end()),
        "docs/configuration.md has to contain what `tickcast check-config --keys` prints:\n{tables}"
    );
}

#[test]
fn a_password_is_read_from_a_file_of_its_owners_only_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    let text = GOOD.replace(
        "[channel.recovery]",
        "[channel.recovery]\npassword_file = \"password\"",
    );
    let read = || Config::parse(&text, folder.path(), Some(&machine()));
    let rule = || read().unwrap_err()[0].to_string();
    assert!(
        rule().contains("password_file = \"password\": No such file"),
        "{}",
        rule()
    );
    fs::write(&file, "s3cr3t\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(rule().contains("mode 0640"), "{}", rule());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = read().unwrap();
    assert_eq!(config.channels[0].recovery.password.reveal(), "s3cr3t");
    let shown = format!("{config:?}{}", toml::to_string(&config).unwrap());
    assert!(!shown.contains("s3cr3t"), "{shown}");
    assert!(shown.contains("(hidden)"), "{shown}");
    fs::write(&file, "not a password\n").unwrap();
    assert!(rule().contains("1 to 10 letters or digits"), "{}", rule());
    assert!(!rule().contains("not a"), "{}", rule());
    // Without a machine to run on, it isn't opened.
    assert!(Config::parse(&text, Path::new("/nowhere"), None).is_ok());
}

#[test]
fn a_core_that_cant_be_had_is_a_warning_where_the_file_says_so() {
    let text = GOOD.replace("cores = [1, 2, 3]", "cores = [1, 2, 9]\npin = \"warn\"");
    let warnings = warnings(&parse(&text).unwrap(), &machine());
    let expected = "totalview: cores [9] can't be had";
    assert!(
        warnings.iter().any(|line| line.starts_with(expected)),
        "{warnings:#?}"
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let text = GOOD
        .replace("127.0.0.1:9000", "0.0.0.0:9000")
        .replace("shards = 2", "realtime_priority = 50\nmemlock = true")
        .replace("cores = [1, 2, 3]", "cores = [1]");
    let all = warnings(&parse(&text).unwrap(), &machine());
    for part in [
        "listen = 0.0.0.0:9000: other machines can connect, without TLS",
        "receive_buffer = 32MiB is above net.core.rmem_max = 1048576",
        "cores [1] aren't isolated",
        "realtime_priority = 50 is above this user's limit, 0",
        "memlock",
        "no password_file",
    ] {
        assert!(
            all.iter().any(|line| line.contains(part)),
            "{part}\n{all:#?}"
        );
    }
    let one = "[[channel]]\nname = 'x'\nprotocol = 'iextp/deep10'\ninterface = '127.0.0.1'\nwait = 'spin'\n[[channel.line]]\ngroup = '239.1.1.1:5'";
    let all = warnings(&parse(one).unwrap(), &machine());
    for part in [
        "x: no second line",
        "x: no request server and no snapshot server",
        "x: wait = \"spin\" without cores",
    ] {
        assert!(
            all.iter().any(|line| line.contains(part)),
            "{part}\n{all:#?}"
        );
    }
}

#[test]
fn a_reload_takes_recovery_and_metrics_over_and_names_the_rest() {
    let mut config = parse(GOOD).unwrap();
    let changed = GOOD
        .replace(
            "reorder_wait = \"500us\"",
            "reorder_wait = \"2ms\"\nrequest_timeout = \"60ms\"",
        )
        .replace("10.0.0.2:18001", "10.0.0.3:18001")
        .replace("127.0.0.1:9001", "127.0.0.1:9002")
        .replace("127.0.0.1:9000", "127.0.0.1:9003")
        .replace("wait = \"adaptive\"", "wait = \"spin\"")
        .replace("233.49.196.111", "233.49.196.112");
    let restart = config.reload(parse(&changed).unwrap());
    assert_eq!(
        restart,
        [
            "listen",
            "totalview: wait",
            "totalview: spin",
            "totalview: line",
            "totalview: reorder_wait"
        ]
    );
    let recovery = &config.channels[0].recovery;
    assert_eq!(recovery.reorder_wait, Nanos::us(500));
    assert_eq!(recovery.request_timeout, Nanos::ms(60));
    assert_eq!(recovery.request_servers[1].to_string(), "10.0.0.3:18001");
    assert_eq!(config.metrics_listen.unwrap().port(), 9002);
    assert_eq!(
        (config.listen.port(), config.channels[0].wait),
        (9000, Wait::Adaptive)
    );

    let renamed = parse(&GOOD.replace("\"totalview\"", "\"other\"")).unwrap();
    assert_eq!(
        config.reload(renamed),
        [
            "listen",
            "totalview: the channel is gone",
            "other: a new channel"
        ][1..]
    );
}
