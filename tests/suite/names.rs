//! Names: honest ones that pass, imitations that do not, by how they are set, and names that are too long.

use std::collections::BTreeMap;

use http::StatusCode;
use icu_properties::CodePointMapData;
use icu_properties::props::Script;
use serde_json::{Value, json};
use tower_dcr::Registration;
use tower_dcr::rules::{
    Action, Claim, ClaimStatus, ClientIdentity, ClientName, Context, Disposition, Identities, Identity, IntoRules,
    Policy,
};

use crate::support::{Naive, behind, changed, outcome, post, send};

const FOREIGN: &str = "https://app.example.net/cb";

fn identify(name: &str) -> Identity {
    let json = json!({ "client_name": name, "redirect_uris": [FOREIGN] }).to_string();
    Identities::known().identify(&Registration::parse(json.as_bytes()).unwrap())
}

/// Returns the result for a name over a foreign host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Rejected,
    Marked,
    Missed,
}

fn fate(name: &str) -> Fate {
    let identity = identify(name);
    match (identity.status, identity.claim) {
        (ClaimStatus::Contradicted, Some(Claim::Name)) => Fate::Rejected,
        (ClaimStatus::Contradicted, _) => Fate::Marked,
        _ => Fate::Missed,
    }
}

/// People, places, products and words in many scripts, over a host of their own: none is rejected, and only those are
/// marked that have a reserved name in them as a reader sees it.
#[tokio::test]
async fn honest_names_are_not_rejected() {
    let service = behind(&tower_dcr::mcp().without_rate_limits(), &Naive::default());
    let mut wrong = Vec::new();
    let mut kinds: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for row in include_str!("../data/names.jsonl").lines() {
        let row: Value = serde_json::from_str(row).unwrap();
        let (name, kind) = (row["name"].as_str().unwrap(), row["kind"].as_str().unwrap());
        let wanted = match row["claims"].as_str().unwrap() {
            "mention" => Fate::Marked,
            "unclaimed" => Fate::Missed,
            other => panic!("{other}"),
        };
        let count = kinds.entry(kind.to_owned()).or_default();
        *if wanted == Fate::Marked { &mut count.1 } else { &mut count.0 } += 1;
        let body = json!({ "client_name": name, "redirect_uris": [FOREIGN] }).to_string();
        let status = send(&service, post(body)).await.status();
        if fate(name) != wanted || status != StatusCode::CREATED {
            wrong.push(format!("{name} ({kind}): {status}, {:?}", identify(name)));
        }
    }
    println!("{kinds:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(kinds.values().map(|(unclaimed, _)| unclaimed).sum::<usize>() > 700);
}

const SPELLINGS: &[(Fate, &str, &[&str])] = &[
    (
        Fate::Marked,
        "a sign between words",
        &[
            "Claude✓Verified",
            "Claude✔\u{FE0F}Official",
            "Claude★Pro",
            "Claude™App",
            "Claude🤖App",
            "Claude→Pro",
            "Claude…Pro",
            "Claude!Pro",
            "Claude?Pro",
            "Claude%Pro",
            "Claude|Pro",
            "Claude+Pro",
            "Claude@Anthropic",
            "Claude@claude.ai",
            "Claude×Slack",
            "Claude‑Pro",
            "Claude‐Pro",
            "Claude−Pro",
            "Claude・Pro",
            "Claude∙Pro",
            "Claude：Pro",
            "Claude／Pro",
            "Claude⠀Pro",
            "claude✓pro",
            "pro✓claude",
            "Pro|Claude",
        ],
    ),
    (
        Fate::Marked,
        "a digit",
        &["Claude4", "Claude2", "ChatGPT5", "Grok4", "VSCode2", "4Claude", "Claude3Opus", "claude4you"],
    ),
    (
        Fate::Rejected,
        "a sign that is not a letter as written",
        &[
            "Claude¡",
            "Cursor¡",
            "Claude²",
            "Claude¹",
            "Claude×",
            "Claude€",
            "Cursor│",
            "Claudeª",
            "Claude™",
            "Claude®",
            "|Claude|",
            "Claude!",
            "Claude+",
            "¡Claude!",
            "@Claude",
            "$Claude",
            "Cl@ude!",
        ],
    ),
    (
        Fate::Marked,
        "another script",
        &[
            "ChatGPT中文版",
            "Claude官方",
            "Claude公式",
            "Claudeアプリ",
            "Claude공식",
            "официальныйClaude",
            "Claudeприложение",
            "Claudeרשמי",
            "Claudeการ",
            "官方Claude",
        ],
    ),
    (
        Fate::Marked,
        "an everyday word without a space",
        &[
            "claudeapp",
            "CLAUDEAPP",
            "claudepro",
            "chatgptapp",
            "openaiconnector",
            "claudemcpclient",
            "myclaude",
            "getchatgpt",
            "officialcursor",
            "THECLAUDEAPP",
            "slackconnector",
            "githubcli",
            "grokai",
            "vscodeweb",
            "c1audeapp",
            "сlaudeapp",
            "claudeᴀᴘᴘ",
            "claudeäpp",
            "myclaudé",
            "claudeplugins",
            "claudeextensions",
            "claudeservers",
            "claudecowork",
            "chatgptatlas",
            "chatgptcodex",
            "vscodecopilot",
        ],
    ),
    (
        Fate::Marked,
        "another name without a space",
        &["claudeanthropic", "claudefromanthropic", "claudecursor", "githubslack", "CLAUDEANTHROPIC"],
    ),
    (
        Fate::Rejected,
        "letters that few tables have",
        &[
            "Cꝉaude",
            "Cꬷaude",
            "Cꬸaude",
            "Cꬹaude",
            "C𝼑aude",
            "C𝼓aude",
            "𝼝laude",
            "Clꬱude",
            "C¦aude",
            "Cㅣaude",
            "Claudə",
            "Claudɘ",
            "Clau∂e",
            "C₤AUDE",
            "[laude",
            "{laude",
        ],
    ),
    (
        Fate::Marked,
        "a space that the name does not have",
        &["C. Laude", "C Laude", "Cl aude", "Code X CLI", "Dev in AI", "Cur\u{A0}sor"],
    ),
    (
        Fate::Rejected,
        "a space where the name has a border",
        &["Chat GPT", "Open AI", "Git Hub", "V S Code", "VisualStudio Code"],
    ),
    (Fate::Marked, "single letters", &["C l a u d e Pro", "C.l.a.u.d.e Notes", "My c-l-a-u-d-e", "G r o k 4"]),
    (Fate::Rejected, "single letters that are all there is", &["C l a u d e", "C.l.a.u.d.e", "V S C o d e"]),
    (Fate::Rejected, "a Roman V", &["CLAVDE", "Clavde", "CVRSOR"]),
    (
        Fate::Rejected,
        "a parenthesis behind nothing but signs",
        &["★ (Claude)", "- (Claude)", "· (ChatGPT)", "™ (Claude)", "_ (Claude Code)", "(Claude)", "✓ （Claude）"],
    ),
    (
        Fate::Rejected,
        "a parenthesis behind the name",
        &["Claude (verified)", "Claude (verified) ✓", "Claude (verified", "Claude (a) (b)", "Copilot (Studio)"],
    ),
    (
        Fate::Marked,
        "the name in a parenthesis",
        &["Notes (Claude)", "a (Claude)", "(verified) Claude", "x (y) (ChatGPT)"],
    ),
    (
        Fate::Rejected,
        "in another script",
        &["クロード", "クロード ✓", "ｸﾛｰﾄﾞ", "클로드", "克劳德", "Клод", "كلود", "קלוד", "क्लॉड", "Гитхаб", "챗지피티"],
    ),
    (
        Fate::Marked,
        "in another script, with more",
        &["クロード公式", "클로드앱", "克劳德官方", "Клод ИИ", "클로드 Pro"],
    ),
    (Fate::Rejected, "a short name as it is drawn", &["xAI", "xAl", "x AI", "х\u{410}\u{406}", "x.AI", "xAI™"]),
    (Fate::Marked, "a short name in another case", &["XAI", "xai", "Xai", "X AI"]),
    (Fate::Missed, "a short name is not folded", &["X41", "x4i", "x4l", "XAL", "xal", "Xal", "Proxai", "xaimap"]),
    (Fate::Marked, "alike at a glance only", &["Dande", "Daude", "Clande", "CLANDE"]),
    (Fate::Missed, "another word that is alike at a glance, among others", &["Dande Bakery", "Daude Maps"]),
    (Fate::Rejected, "letters that touch", &["Claucle", "CIaucIe", "VVindsurf", "Winclsurf"]),
];

#[test]
fn reserved_names_are_found_in_any_typesetting() {
    let mut wrong = Vec::new();
    for (wanted, reason, names) in SPELLINGS {
        for name in *names {
            if fate(name) != *wanted {
                wrong.push(format!("{name} ({reason}): {:?}, not {wanted:?}", fate(name)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Names of products that are imitated here, in one word and in several.
const IMITATED: [&str; 12] = [
    "Claude",
    "Claude Code",
    "Anthropic",
    "ChatGPT",
    "OpenAI",
    "Cursor",
    "Visual Studio Code",
    "GitHub Copilot",
    "Grok",
    "Mistral AI",
    "Perplexity",
    "Slack",
];

const SIGNS: &str = " -_.,:;/\\&()[]{}<>\"'`*~#=!?%^|+@$‐‑‒–—―−·•∙・‧⋅：／．－＿｜＋　\u{A0}\u{2009}\u{2800}…→⇒×÷™®©°²³¹ªº¡¿†‡§¶★☆✓✔✗♥●■▲◆🤖🚀✨№€£¥¢∞≈≠│┃";

/// Letters of one style or script for those of ASCII, by where its `a` or its list begins.
const ALPHABETS: [(&str, &str, &str); 14] = [
    ("Cyrillic", "aceopxyisj", "асеорхуіѕј"),
    ("Greek", "oavpiku", "οανρικυ"),
    ("Armenian", "ouhng", "օսհոց"),
    ("full width", "abcdefghijklmnopqrstuvwxyz", "ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ"),
    ("bold", "abcdefghijklmnopqrstuvwxyz", "𝐚𝐛𝐜𝐝𝐞𝐟𝐠𝐡𝐢𝐣𝐤𝐥𝐦𝐧𝐨𝐩𝐪𝐫𝐬𝐭𝐮𝐯𝐰𝐱𝐲𝐳"),
    ("script", "abcdefghijklmnopqrstuvwxyz", "𝓪𝓫𝓬𝓭𝓮𝓯𝓰𝓱𝓲𝓳𝓴𝓵𝓶𝓷𝓸𝓹𝓺𝓻𝓼𝓽𝓾𝓿𝔀𝔁𝔂𝔃"),
    ("fraktur", "abcdefghijklmnopqrstuvwxyz", "𝔞𝔟𝔠𝔡𝔢𝔣𝔤𝔥𝔦𝔧𝔨𝔩𝔪𝔫𝔬𝔭𝔮𝔯𝔰𝔱𝔲𝔳𝔴𝔵𝔶𝔷"),
    ("typewriter", "abcdefghijklmnopqrstuvwxyz", "𝚊𝚋𝚌𝚍𝚎𝚏𝚐𝚑𝚒𝚓𝚔𝚕𝚖𝚗𝚘𝚙𝚚𝚛𝚜𝚝𝚞𝚟𝚠𝚡𝚢𝚣"),
    ("circled", "abcdefghijklmnopqrstuvwxyz", "ⓐⓑⓒⓓⓔⓕⓖⓗⓘⓙⓚⓛⓜⓝⓞⓟⓠⓡⓢⓣⓤⓥⓦⓧⓨⓩ"),
    ("squared", "abcdefghijklmnopqrstuvwxyz", "🅰🅱🅲🅳🅴🅵🅶🅷🅸🅹🅺🅻🅼🅽🅾🅿🆀🆁🆂🆃🆄🆅🆆🆇🆈🆉"),
    ("flags", "abcdefghijklmnopqrstuvwxyz", "🇦🇧🇨🇩🇪🇫🇬🇭🇮🇯🇰🇱🇲🇳🇴🇵🇶🇷🇸🇹🇺🇻🇼🇽🇾🇿"),
    ("small capitals", "abcdefghijklmnoprtuvwyz", "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ"),
    ("superscript", "abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"),
    ("accents", "acdegilnorstuz", "áćďéğíļñőŕšťúž"),
];

const LEET: [(char, &str); 9] = [
    ('o', "0"),
    ('i', "1!|"),
    ('l', "1|!"),
    ('e', "3€"),
    ('a', "4@"),
    ('s', "5$"),
    ('t', "7+"),
    ('b', "8"),
    ('g', "69"),
];

const AFFIXES: [&str; 22] = [
    "app",
    "pro",
    "ai",
    "official",
    "desktop",
    "mcp",
    "client",
    "connector",
    "chat",
    "cli",
    "web",
    "plus",
    "max",
    "team",
    "bot",
    "my",
    "the",
    "get",
    "code",
    "server",
    "agent",
    "beta",
];

const OFFICIAL: [&str; 16] = [
    "官方",
    "公式",
    "アプリ",
    "공식",
    "앱",
    "официальный",
    "επίσημο",
    "رسمي",
    "רשמי",
    "आधिकारिक",
    "অফিসিয়াল",
    "แอป",
    "პროგრამა",
    "հավելված",
    "ትክክለኛ",
    "中文版",
];

/// Imitations of a name, made by one rule.
type Rule = fn(&str) -> Vec<String>;

/// Each rule with what is asked of it: the shares in percent that are rejected at least, and missed at most.
const RULES: [(&str, Rule, usize, usize); 16] = [
    ("a sign at every place", |name| each_place(name, |sign| !is_blank(sign)), 100, 0),
    ("a space at every place", |name| each_place(name, is_blank), 0, 0),
    ("a sign and a word", |name| signs(|sign| format!("{name}{sign}pro")), 0, 0),
    ("a word and a sign", |name| signs(|sign| format!("my{sign}{name}")), 0, 0),
    ("signs around it", |name| signs(|sign| format!("{sign}{name}{sign}")), 100, 0),
    ("single letters", |name| signs(|sign| spaced(name, sign)), 100, 0),
    ("single letters and a word", |name| signs(|sign| format!("{} Pro", spaced(name, sign))), 0, 0),
    (
        "digits around it",
        |name| (0..10).flat_map(|digit| [format!("{name}{digit}"), format!("{digit}{name}")]).collect(),
        0,
        0,
    ),
    ("one letter as a digit or sign", |name| replaced(name, &leet()), 100, 0),
    ("one letter of another alphabet", |name| replaced(name, &alphabets()), 98, 0),
    ("all letters of another alphabet", all_replaced, 98, 0),
    (
        "one letter of another alphabet, and a word",
        |name| replaced(name, &alphabets()).into_iter().map(|name| format!("{name} Pro")).collect(),
        0,
        0,
    ),
    ("case", cases, 100, 0),
    ("an everyday word without a space", affixed, 0, 0),
    (
        "a word of another script without a space",
        |name| OFFICIAL.iter().flat_map(|word| [format!("{name}{word}"), format!("{word}{name}")]).collect(),
        0,
        0,
    ),
    ("a parenthesis behind signs", |name| signs(|sign| format!("{sign} ({name})")), 100, 0),
];

fn signs(make: impl Fn(char) -> String) -> Vec<String> {
    SIGNS.chars().map(make).collect()
}

fn spaced(name: &str, sign: char) -> String {
    name.chars().flat_map(|c| [c, sign]).collect()
}

fn is_blank(sign: char) -> bool {
    sign.is_whitespace() || sign == '\u{2800}'
}

fn each_place(name: &str, wanted: fn(char) -> bool) -> Vec<String> {
    let between = |at: usize| {
        let set = move |sign| format!("{}{sign}{}", &name[..at], &name[at..]);
        SIGNS.chars().filter(move |sign| wanted(*sign)).map(set)
    };
    name.char_indices().skip(1).flat_map(|(at, _)| between(at)).collect()
}

fn leet() -> Vec<(char, char)> {
    LEET.iter().flat_map(|(letter, others)| others.chars().map(|other| (*letter, other))).collect()
}

fn alphabets() -> Vec<(char, char)> {
    ALPHABETS.iter().flat_map(|(_, letters, others)| letters.chars().zip(others.chars())).collect()
}

/// The name with one of its letters replaced, each by each.
fn replaced(name: &str, table: &[(char, char)]) -> Vec<String> {
    let at = |(at, c): (usize, char)| {
        let others = table.iter().filter(move |(letter, _)| *letter == c.to_ascii_lowercase());
        others.map(move |(_, other)| format!("{}{other}{}", &name[..at], &name[at + c.len_utf8()..]))
    };
    name.char_indices().flat_map(at).collect()
}

fn all_replaced(name: &str) -> Vec<String> {
    let by = |(_, letters, others): &(&str, &str, &str)| -> String {
        let other = |c: char| letters.chars().zip(others.chars()).find(|(letter, _)| *letter == c.to_ascii_lowercase());
        name.chars().map(|c| other(c).map_or(c, |(_, other)| other)).collect()
    };
    ALPHABETS.iter().map(by).collect()
}

fn cases(name: &str) -> Vec<String> {
    let alternating = |odd: usize| -> String {
        let case = |(at, c): (usize, char)| if at % 2 == odd { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
        name.chars().enumerate().map(case).collect()
    };
    vec![name.to_lowercase(), name.to_uppercase(), alternating(0), alternating(1), name.replace(' ', "")]
}

fn affixed(name: &str) -> Vec<String> {
    let name = name.replace(' ', "");
    let both = |word: &&str| [format!("{name}{word}"), format!("{word}{name}")];
    let names: Vec<String> = AFFIXES.iter().flat_map(both).collect();
    names.iter().flat_map(|name| [name.to_lowercase(), name.to_uppercase()]).collect()
}

/// The rates that the chapter on impersonation reports: `cargo test --test suite imitations -- --nocapture`.
#[test]
fn imitations_by_typesetting_are_recognised() {
    let percent = |some: usize, of: usize| some * 100 / of.max(1);
    let mut wrong = Vec::new();
    let mut totals = [0; 3];
    for (rule, make, rejected_at_least, missed_at_most) in RULES {
        let mut fates = [0; 3];
        let mut missed = Vec::new();
        for imitation in IMITATED.iter().flat_map(|name| make(name)) {
            let fate = fate(&imitation);
            fates[fate as usize] += 1;
            if fate == Fate::Missed || fate == Fate::Marked && rejected_at_least == 100 {
                missed.push(format!("{imitation} {fate:?}"));
            }
        }
        let [rejected, marked, unmarked] = fates;
        let all = rejected + marked + unmarked;
        println!("{rule}: {all} names, {rejected} rejected, {marked} marked, {unmarked} missed");
        if percent(rejected, all) < rejected_at_least || unmarked * 100 > missed_at_most * all {
            missed.truncate(40);
            wrong.push(format!("{rule}: {missed:?}"));
        }
        totals.iter_mut().zip(fates).for_each(|(total, fate)| *total += fate);
    }
    println!("together: {} rejected, {} marked, {} missed", totals[0], totals[1], totals[2]);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(totals.iter().sum::<usize>() > 20_000);
}

/// A character behind the name that is not a letter of its script hides nothing.
#[test]
fn imitations_with_any_character_behind_are_recognised() {
    let ranges = [0x21..0x3100, 0xA000..0xAC00, 0xF900..0x1_0000, 0x1_D400..0x1_D800, 0x1_F000..0x1_FB00];
    let (mut fates, mut missed) = ([0; 3], Vec::new());
    for c in ranges.into_iter().flatten().filter_map(char::from_u32) {
        let fate = fate(&format!("Claude{c}"));
        fates[fate as usize] += 1;
        if fate == Fate::Missed {
            missed.push(c);
        }
    }
    println!("{} characters behind a name: {fates:?} rejected, marked, missed", fates.iter().sum::<usize>());
    // Another letter makes another word.
    let is_ordinary = |c: &char| {
        CodePointMapData::<Script>::new().get(*c) == Script::Latin
            && c.is_lowercase()
            && unicode_security::GeneralSecurityProfile::identifier_allowed(*c)
    };
    assert!(missed.iter().all(is_ordinary), "{missed:?}");
    assert!(missed.len() < 600, "{}: {missed:?}", missed.len());
}

fn named(name: &str) -> String {
    json!({ "client_name": name, "redirect_uris": [FOREIGN] }).to_string()
}

/// Returns the name after these rules, or the reason of the rejection.
fn judge(rules: &(impl IntoRules + Clone), name: &str) -> Result<(String, Vec<Disposition>), String> {
    let registration = Registration::parse(named(name).as_bytes()).unwrap();
    let evaluation = Policy::new(rules.clone()).evaluate(registration, &Context::registration());
    let left = outcome(&evaluation)?;
    let dispositions = evaluation.findings.iter().map(|finding| finding.disposition).collect();
    Ok((left["client_name"].as_str().unwrap().to_owned(), dispositions))
}

#[test]
fn long_names_are_cut_unless_that_hides_something() {
    let rules = (ClientName::default(), ClientIdentity::default());
    let words = |count: usize| "Meeting notes ".repeat(count).trim_end().to_owned();
    let long = words(10);
    let (left, dispositions) = judge(&rules, &long).unwrap();
    assert_eq!((left.as_str(), dispositions), (words(7).as_str(), vec![Disposition::Narrowed]));
    assert_eq!(judge(&rules, &words(7)).unwrap(), (words(7), vec![]), "short enough");

    let rejected = judge(&rules, &words(19)).unwrap_err();
    assert!(rejected.contains("client_name has 265 characters, more than 256"), "{rejected}");
    let reject = (changed(ClientName::default(), |it| it.overlong = Action::Reject), ClientIdentity::default());
    let rejected = judge(&reject, &long).unwrap_err();
    assert!(rejected.contains("client_name has 139 characters, more than 100"), "{rejected}");

    let spaces = " ".repeat(100);
    for (name, reason) in [
        (format!("Claude{spaces}for cats"), "what is left is a reserved name"),
        (format!("Claude ({})", "x".repeat(120)), "the whole is a reserved name"),
        (format!("★ ({}Claude)", "✓ ".repeat(50)), "the whole is a reserved name, of which nothing is left"),
        (format!("Claude{}", "\u{2800}✓".repeat(60)), "signs behind a reserved name"),
        (format!("{spaces}Notes"), "nothing is left"),
        (format!("Notes {} \u{202E}x", "y".repeat(100)), "hidden characters behind the end"),
    ] {
        assert!(judge(&rules, &name).is_err(), "{reason}: {:?}", judge(&rules, &name));
    }
    let (left, dispositions) = judge(&rules, &format!("{} Claude", words(8))).unwrap();
    assert_eq!(
        (left, dispositions),
        (words(7), vec![Disposition::Narrowed, Disposition::Flagged]),
        "cut off, and marked"
    );

    let official =
        ClientName::default().with_max_chars(12).unwrap().with_reserved_words(["official", "verif"]).unwrap();
    assert!(judge(&official, "Some long thing official").is_err(), "a reserved word behind the end");
    assert!(judge(&official, "Verif").is_err() && judge(&official, "Verification").is_ok());
    assert!(judge(&official, "ATheNewVerification").is_err(), "a reserved word that the cut makes");
}

/// In other scripts, in tagged names, and on its way to the server.
#[tokio::test]
async fn the_server_gets_the_cut_name() {
    let naive = Naive::default();
    let long = "ノ".repeat(150);
    let body = json!({ "client_name": "Notes", "client_name#ja": long, "redirect_uris": [FOREIGN] }).to_string();
    let answer = send(&behind(&tower_dcr::mcp().without_rate_limits(), &naive), post(body.clone())).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.json()["client_name#ja"], json!("ノ".repeat(100)));
    let strict = send(&behind(&tower_dcr::strict().without_rate_limits(), &naive), post(body)).await;
    assert_eq!(strict.status(), StatusCode::BAD_REQUEST, "strict cuts nothing");
    assert_eq!(naive.seen().len(), 1);
}
