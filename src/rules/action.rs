//! The actions of rules on something that they do not accept.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{EnumAccess, Error, VariantAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The action of a rule on something that it does not accept.
///
/// Each setting takes the actions that its documentation names, and a policy file with another one is an error. In code, an
/// action that the setting does not take counts as [`Reject`](Self::Reject).
///
/// ```
/// use tower_dcr::rules::{Action, Context, Decision, Members, Policy};
/// use tower_dcr::Registration;
///
/// let mut members = Members::default();
/// members.unknown = Action::Reject;
/// let registration = Registration::parse(br#"{"skip_consent":true}"#)?;
/// assert_eq!(Policy::new(members).evaluate(registration, &Context::registration()).decision(), Decision::Reject);
/// # Ok::<_, tower_dcr::registration::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// A text is shortened.
    Cut,
    /// The member gets the operator's default.
    Default,
    /// It is accepted, and a finding is recorded.
    Mark,
    /// A list loses the elements that are not accepted.
    Narrow,
    /// It is accepted. Only for settings of layers, such as [`GateSettings`](crate::layers::GateSettings).
    Pass,
    /// It is rejected.
    Reject,
    /// The member is removed.
    Strip,
    /// The member gets a value that is accepted.
    Substitute,
}

impl Action {
    const ALL: [Self; 8] =
        [Self::Cut, Self::Default, Self::Mark, Self::Narrow, Self::Pass, Self::Reject, Self::Strip, Self::Substitute];

    const fn word(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Default => "default",
            Self::Mark => "mark",
            Self::Narrow => "narrow",
            Self::Pass => "pass",
            Self::Reject => "reject",
            Self::Strip => "strip",
            Self::Substitute => "substitute",
        }
    }
}

/// The actions of one setting: their words, in order, with an older one that is read as well.
pub(crate) trait Choice {
    const WORDS: &'static [&'static str];
}

/// The words that a setting with any action takes.
pub(crate) struct Any;

pub(crate) struct CutOrReject;

pub(crate) struct MarkOrReject;

/// Those of a rule of the gate.
pub(crate) struct MarkPassOrReject;

/// Those of a gate's rule about a list.
pub(crate) struct MarkNarrowPassOrReject;

pub(crate) struct NarrowOrReject;

/// Those of a gate.
pub(crate) struct PassOrReject;

/// Those of a scope.
pub(crate) struct NarrowDefaultOrReject;

pub(crate) struct StripOrReject;

pub(crate) struct SubstituteOrReject;

impl Choice for Any {
    const WORDS: &'static [&'static str] = &["default", "narrow", "reject", "refuse", "strip", "substitute"];
}

impl Choice for CutOrReject {
    const WORDS: &'static [&'static str] = &["cut", "reject"];
}

impl Choice for MarkOrReject {
    const WORDS: &'static [&'static str] = &["mark", "reject", "refuse"];
}

impl Choice for MarkPassOrReject {
    const WORDS: &'static [&'static str] = &["mark", "pass", "reject"];
}

impl Choice for MarkNarrowPassOrReject {
    const WORDS: &'static [&'static str] = &["mark", "narrow", "pass", "reject"];
}

impl Choice for NarrowOrReject {
    const WORDS: &'static [&'static str] = &["narrow", "reject", "refuse"];
}

impl Choice for PassOrReject {
    const WORDS: &'static [&'static str] = &["pass", "reject", "refuse"];
}

impl Choice for NarrowDefaultOrReject {
    const WORDS: &'static [&'static str] = &["default", "narrow", "reject", "refuse"];
}

impl Choice for StripOrReject {
    const WORDS: &'static [&'static str] = &["reject", "refuse", "strip"];
}

impl Choice for SubstituteOrReject {
    const WORDS: &'static [&'static str] = &["reject", "refuse", "substitute"];
}

/// Reads one of the actions of `C`.
pub(crate) fn one<'de, D: Deserializer<'de>, C: Choice>(deserializer: D) -> Result<Action, D::Error> {
    OneOf::<C>::deserialize(deserializer).map(|read| read.0)
}

/// Reads one of the actions of `C` for a setting without a default.
pub(crate) fn one_if_any<'de, D: Deserializer<'de>, C: Choice>(deserializer: D) -> Result<Option<Action>, D::Error> {
    Ok(Option::<OneOf<C>>::deserialize(deserializer)?.map(|read| read.0))
}

/// Reads one of the actions of `C` for each name.
pub(crate) fn by_name<'de, D, C, N>(deserializer: D) -> Result<BTreeMap<N, Action>, D::Error>
where
    D: Deserializer<'de>,
    C: Choice,
    N: Deserialize<'de> + Ord,
{
    let read = BTreeMap::<N, OneOf<C>>::deserialize(deserializer)?;
    Ok(read.into_iter().map(|(name, action)| (name, action.0)).collect())
}

/// Writes an action of `C`: an action that the setting does not take is written as it counts.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(crate) fn write_one<S: Serializer, C: Choice>(action: &Action, serializer: S) -> Result<S::Ok, S::Error> {
    taken::<C>(*action).serialize(serializer)
}

/// Writes an action of `C` for a setting without a default.
#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(crate) fn write_one_if_any<S: Serializer, C: Choice>(
    action: &Option<Action>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    action.map(taken::<C>).serialize(serializer)
}

/// Writes an action of `C` for each name.
pub(crate) fn write_by_name<S: Serializer, C: Choice, N: Serialize>(
    actions: &BTreeMap<N, Action>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(actions.iter().map(|(name, action)| (name, taken::<C>(*action))))
}

fn taken<C: Choice>(action: Action) -> Action {
    if C::WORDS.contains(&action.word()) { action } else { Action::Reject }
}

/// One of the actions of `C`.
pub(crate) struct OneOf<C>(Action, PhantomData<C>);

impl<'de, C: Choice> Deserialize<'de> for OneOf<C> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_enum("Action", C::WORDS, Word(PhantomData))
    }
}

struct Word<C>(PhantomData<C>);

impl<'de, C: Choice> Visitor<'de> for Word<C> {
    type Value = OneOf<C>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an action")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, word: A) -> Result<OneOf<C>, A::Error> {
        let (word, variant) = word.variant::<String>()?;
        let known = Some(&*word).filter(|word| C::WORDS.contains(word));
        let known = known.map(|word| if word == "refuse" { "reject" } else { word });
        let action = known.and_then(|known| Action::ALL.into_iter().find(|action| action.word() == known));
        let action = action.ok_or_else(|| A::Error::unknown_variant(&word, C::WORDS))?;
        variant.unit_variant()?;
        Ok(OneOf(action, PhantomData))
    }
}

#[cfg(feature = "schema")]
impl<C: Choice> schemars::JsonSchema for OneOf<C> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<&str> = C::WORDS.iter().copied().filter(|word| *word != "refuse").collect();
        schemars::json_schema!({ "type": "string", "enum": words })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Settings {
        #[serde(deserialize_with = "one::<_, NarrowOrReject>", serialize_with = "write_one::<_, NarrowOrReject>")]
        list: Action,
        #[serde(deserialize_with = "one_if_any::<_, Any>", serialize_with = "write_one_if_any::<_, Any>")]
        member: Option<Action>,
        #[serde(
            deserialize_with = "by_name::<_, StripOrReject, _>",
            serialize_with = "write_by_name::<_, StripOrReject, _>"
        )]
        named: BTreeMap<String, Action>,
    }

    #[test]
    fn each_action_can_be_written_and_read_again() {
        for action in Action::ALL {
            let named = BTreeMap::from([("a".to_owned(), action)]);
            let text = serde_json::to_string(&Settings { list: action, member: Some(action), named }).unwrap();
            let read: Settings = serde_json::from_str(&text).unwrap();
            let kept = |allowed: &[Action]| if allowed.contains(&action) { action } else { Action::Reject };
            assert_eq!(read.list, kept(&[Action::Narrow]));
            assert_eq!(read.named["a"], kept(&[Action::Strip]));
            assert_eq!(read.member, Some(kept(&[Action::Default, Action::Narrow, Action::Strip, Action::Substitute])));
            assert_eq!(serde_json::to_value(action).unwrap(), action.word());
        }
        assert!(serde_json::from_str::<Settings>(r#"{"list":"cut","member":null,"named":{}}"#).is_err());
    }
}
