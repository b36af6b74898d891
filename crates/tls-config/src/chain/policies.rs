//! Certificate policies: RFC 5280, section 6.1, as revised by RFC 9618, for a caller that
//! accepts every policy.
//!
//! For such a caller policies matter only if a CA says so: after a `policyConstraints` that
//! requires an explicit policy, the certificates below must share one. RFC 5280's policy
//! tree is represented by the set of policies that the next certificate may name; the tree
//! is empty when the set is.

use std::collections::BTreeSet;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ParsedExtension, PolicyConstraints};

/// `anyPolicy`, 2.5.29.32.0, in DER.
const ANY_POLICY: &[u8] = &[0x55, 0x1d, 0x20, 0x00];

/// A policy's object identifier.
type Policy<'a> = &'a [u8];

/// The policy extensions of a certificate.
#[derive(Default)]
struct Said<'a> {
    policies: Option<Vec<Policy<'a>>>,
    /// From the issuer's policies to the subject's.
    mappings: Vec<(Policy<'a>, Policy<'a>)>,
    constraints: Option<&'a PolicyConstraints>,
    inhibit_any: Option<u32>,
}

impl<'a> Said<'a> {
    fn by(x509: &'a X509Certificate<'_>) -> Self {
        let mut said = Said::default();
        for extension in x509.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::CertificatePolicies(policies) => {
                    let policies = policies.iter().map(|policy| policy.policy_id.as_bytes());
                    said.policies = Some(policies.collect());
                }
                ParsedExtension::PolicyMappings(mappings) => {
                    said.mappings = mappings
                        .mappings
                        .iter()
                        .map(|mapping| {
                            let from = mapping.issuer_domain_policy.as_bytes();
                            (from, mapping.subject_domain_policy.as_bytes())
                        })
                        .collect();
                }
                ParsedExtension::PolicyConstraints(constraints) => {
                    said.constraints = Some(constraints);
                }
                ParsedExtension::InhibitAnyPolicy(inhibit) => {
                    said.inhibit_any = Some(inhibit.skip_certs);
                }
                _ => {}
            }
        }
        said
    }
}

/// The number of further certificates to skip before a rule applies.
struct Skips(u32);

impl Skips {
    fn over(&self) -> bool {
        self.0 == 0
    }

    fn lower_to(&mut self, limit: Option<u32>) {
        self.0 = limit.map_or(self.0, |limit| self.0.min(limit));
    }

    fn pass(&mut self) {
        self.0 = self.0.saturating_sub(1);
    }
}

/// Whether the policies of a chain allow it; `chain` runs from the certificate below the
/// root to the leaf.
pub(super) fn allow<'a>(
    chain: impl DoubleEndedIterator<Item = &'a X509Certificate<'a>> + ExactSizeIterator,
) -> bool {
    let length = u32::try_from(chain.len()).unwrap_or(u32::MAX);
    let unlimited = || Skips(length.saturating_add(1));
    let (mut explicit, mut mapping, mut any) = (unlimited(), unlimited(), unlimited());
    let mut valid: BTreeSet<Policy<'_>> = BTreeSet::from([ANY_POLICY]);
    for (index, x509) in (1..).zip(chain) {
        let said = Said::by(x509);
        let is_leaf = index == length;
        let self_issued = x509.subject().as_raw() == x509.issuer().as_raw();
        let any_counts = !any.over() || (!is_leaf && self_issued);
        valid = named(&valid, said.policies.as_deref().unwrap_or_default(), any_counts);
        if explicit.over() && valid.is_empty() {
            return false;
        }
        if is_leaf {
            explicit.pass();
            let required = said.constraints.and_then(|limits| limits.require_explicit_policy);
            explicit.lower_to(required.filter(|&skip| skip == 0));
            break;
        }
        if said.mappings.iter().any(|(from, to)| [*from, *to].contains(&ANY_POLICY)) {
            return false;
        }
        valid = mapped(valid, &said.mappings, !mapping.over());
        if !self_issued {
            [&mut explicit, &mut mapping, &mut any].into_iter().for_each(Skips::pass);
        }
        if let Some(constraints) = said.constraints {
            explicit.lower_to(constraints.require_explicit_policy);
            mapping.lower_to(constraints.inhibit_policy_mapping);
        }
        any.lower_to(said.inhibit_any);
    }
    !explicit.over() || !valid.is_empty()
}

/// The subset of `valid` that a certificate with these policies leaves.
fn named<'a>(
    valid: &BTreeSet<Policy<'a>>,
    policies: &[Policy<'a>],
    any_counts: bool,
) -> BTreeSet<Policy<'a>> {
    let named = policies.iter().copied().filter(|policy| *policy != ANY_POLICY);
    let mut left: BTreeSet<_> =
        named.filter(|policy| valid.contains(policy) || valid.contains(ANY_POLICY)).collect();
    if any_counts && policies.contains(&ANY_POLICY) {
        left.extend(valid);
    }
    left
}

/// Applies a CA's mappings to `valid`; where mapping is inhibited, a policy that would be
/// mapped is dropped.
fn mapped<'a>(
    valid: BTreeSet<Policy<'a>>,
    mappings: &[(Policy<'a>, Policy<'a>)],
    allowed: bool,
) -> BTreeSet<Policy<'a>> {
    let is_mapped = |policy: &Policy<'_>| mappings.iter().any(|(from, _)| from == policy);
    let kept = valid.iter().copied().filter(|policy| !is_mapped(policy));
    let applies =
        |from: &Policy<'_>| allowed && (valid.contains(from) || valid.contains(ANY_POLICY));
    let new = mappings.iter().filter(|(from, _)| applies(from)).map(|(_, to)| *to);
    kept.chain(new).collect()
}
