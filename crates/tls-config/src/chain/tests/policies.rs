//! Enterprise chains with critical policy extensions.

use rcgen::{CustomExtension, GeneralSubtree, NameConstraints};

use super::*;

const POLICIES: &[u64] = &[2, 5, 29, 32];
const MAPPINGS: &[u64] = &[2, 5, 29, 33];
const CONSTRAINTS: &[u64] = &[2, 5, 29, 36];
const INHIBIT_ANY: &[u64] = &[2, 5, 29, 54];
/// 1.3.6.1.4.1.99999.1 and .2, and anyPolicy.
const P1: &[u8] = &[6, 9, 0x2b, 6, 1, 4, 1, 0x86, 0x8d, 0x1f, 1];
const P2: &[u8] = &[6, 9, 0x2b, 6, 1, 4, 1, 0x86, 0x8d, 0x1f, 2];
const ANY: &[u8] = &[6, 4, 0x55, 0x1d, 0x20, 0];

fn critical(oid: &[u64], content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, content);
    extension.set_criticality(true);
    extension
}

fn policies(all: &[&[u8]]) -> CustomExtension {
    let each: Vec<u8> = all.iter().flat_map(|policy| sequence(policy)).collect();
    critical(POLICIES, sequence(&each))
}

fn mapping(from: &[u8], to: &[u8]) -> CustomExtension {
    critical(MAPPINGS, sequence(&sequence(&[from, to].concat())))
}

/// requireExplicitPolicy after `skip` certificates.
fn explicit_after(skip: u8) -> CustomExtension {
    critical(CONSTRAINTS, sequence(&[0x80, 1, skip]))
}

fn no_mapping() -> CustomExtension {
    critical(CONSTRAINTS, sequence(&[0x81, 1, 0]))
}

fn no_any() -> CustomExtension {
    critical(INHIBIT_ANY, vec![2, 1, 0])
}

struct Below {
    leaf: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

/// A leaf with the last of these sets of extensions, below one CA for each
/// other set.
fn below(root: &Issuer<'static, KeyPair>, levels: &[&[CustomExtension]]) -> Below {
    let (leaf, cas) = levels.split_last().expect("a leaf");
    let mut intermediates = Vec::new();
    let mut issuer: Option<Issuer<'static, KeyPair>> = None;
    for (depth, extensions) in cas.iter().enumerate() {
        let key = KeyPair::generate().expect("a key");
        let mut params = named(&format!("middle {depth}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.custom_extensions = extensions.to_vec();
        let signed = params.signed_by(&key, issuer.as_ref().unwrap_or(root)).expect("a CA");
        intermediates.push(CertificateDer::from(signed));
        issuer = Some(Issuer::new(params, key));
    }
    let key = KeyPair::generate().expect("a key");
    let mut params = named("alice");
    params.custom_extensions = leaf.to_vec();
    let leaf = params.signed_by(&key, issuer.as_ref().unwrap_or(root)).expect("a leaf");
    Below { leaf: leaf.into(), intermediates }
}

#[test]
fn critical_policies_are_understood() {
    let (root, roots) = ca("ca");
    let verdict = |levels: &[&[CustomExtension]]| {
        let below = below(&root, levels);
        let now = SystemTime::now();
        verify(&below.leaf, &below.intermediates, &roots, Purpose::Client, now)
    };
    let believed: &[&[&[CustomExtension]]] = &[
        // The chains from the bug reports.
        &[&[policies(&[ANY])], &[]],
        &[&[policies(&[P1])], &[]],
        &[&[policies(&[P1])]],
        &[&[], &[policies(&[P1, P2])]],
        &[&[policies(&[P1]), no_any()], &[]],
        &[&[policies(&[P1]), explicit_after(0)], &[policies(&[P1])]],
        // An explicit policy that all certificates have, or that anyPolicy
        // covers.
        &[&[policies(&[ANY]), explicit_after(0)], &[policies(&[P2])]],
        &[&[policies(&[P1]), explicit_after(0)], &[policies(&[ANY])]],
        &[&[policies(&[P1, P2]), explicit_after(0)], &[policies(&[P2])], &[policies(&[P2])]],
        // Required only beyond the end of the chain.
        &[&[policies(&[P1]), explicit_after(2)], &[policies(&[P2])]],
        &[&[policies(&[P1]), mapping(P1, P2), explicit_after(0)], &[policies(&[P2])]],
    ];
    for (case, levels) in believed.iter().enumerate() {
        assert_eq!(verdict(levels), Ok(()), "case {case}");
    }
    let refused: &[&[&[CustomExtension]]] = &[
        &[&[policies(&[P1]), explicit_after(0)], &[]],
        &[&[policies(&[P1]), explicit_after(0)], &[policies(&[P2])]],
        &[&[policies(&[P1]), explicit_after(0)], &[], &[policies(&[P1])]],
        &[&[explicit_after(0)], &[policies(&[P1])]],
        &[&[policies(&[P1]), explicit_after(1)], &[], &[]],
        // anyPolicy is ignored below a CA that inhibits it.
        &[&[policies(&[P1]), explicit_after(0), no_any()], &[policies(&[ANY])]],
        // A policy that was mapped to another is gone, also where mapping is
        // inhibited.
        &[&[policies(&[P1]), mapping(P1, P2), explicit_after(0)], &[policies(&[P1])]],
        &[
            &[policies(&[P1]), no_mapping()],
            &[policies(&[P1]), mapping(P1, P2), explicit_after(0)],
            &[policies(&[P2])],
        ],
        &[&[policies(&[ANY]), mapping(ANY, P2)], &[policies(&[P2])]],
    ];
    for (case, levels) in refused.iter().enumerate() {
        assert_eq!(verdict(levels), Err(ChainError::UnknownAuthority), "case {case}");
    }
}

#[test]
fn every_bit_of_a_certificate_with_critical_policies_counts() {
    let (root, roots) = ca("ca");
    let below = below(&root, &[&[policies(&[P1]), explicit_after(0)], &[policies(&[P1])]]);
    let now = SystemTime::now();
    let check = |leaf: &CertificateDer<'_>, middle: &CertificateDer<'_>| {
        verify(leaf, std::slice::from_ref(middle), &roots, Purpose::Client, now)
    };
    let middle = &below.intermediates[0];
    assert_eq!(check(&below.leaf, middle), Ok(()));
    let bent = |der: &CertificateDer<'_>, byte: usize, flip: u8| {
        let mut bytes = der.to_vec();
        bytes[byte] ^= flip;
        CertificateDer::from(bytes)
    };
    for bit in 0..below.leaf.len() * 8 {
        let leaf = bent(&below.leaf, bit / 8, 1 << (bit % 8));
        assert!(check(&leaf, middle).is_err(), "bit {bit} of the leaf does not count");
    }
    for bit in 0..middle.len() * 8 {
        let middle = bent(middle, bit / 8, 1 << (bit % 8));
        assert!(check(&below.leaf, &middle).is_err(), "bit {bit} of the CA does not count");
    }
    // As presented to webpki: the same bytes as a separate certificate have no
    // valid signature.
    let at = below.leaf.windows(5).position(|window| window == [0x55, 0x1d, 0x20, 1, 1]);
    let shown = bent(&below.leaf, at.expect("critical policies") + 5, 0xff);
    assert!(check(&shown, middle).is_err());
}

#[test]
fn an_extension_that_nobody_handles_is_named() {
    let (root, roots) = ca("ca");
    let unknown = || critical(&[1, 3, 6, 1, 4, 1, 99999, 7], vec![5, 0]);
    let text = "unhandled critical extension 1.3.6.1.4.1.99999.7";
    for levels in [&[&[][..], &[unknown()]][..], &[&[unknown()], &[policies(&[P1])]]] {
        let below = below(&root, levels);
        let now = SystemTime::now();
        let refused = verify(&below.leaf, &below.intermediates, &roots, Purpose::Client, now);
        assert_eq!(refused, Err(ChainError::Refused(text.to_owned())));
    }
}

/// A version 1 leaf has no names that constraints could apply to.
#[test]
fn a_version_1_leaf_is_believed_below_constrained_names() {
    let now = SystemTime::now();
    let (root, roots) = ca("ca");
    let verdict = |subtree: GeneralSubtree, is_excluded: bool| {
        let key = KeyPair::generate().expect("a key");
        let mut params = named("middle");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut trees = [vec![subtree], vec![]];
        if is_excluded {
            trees.swap(0, 1);
        }
        let [permitted_subtrees, excluded_subtrees] = trees;
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
        let middle = CertificateDer::from(params.signed_by(&key, &root).expect("a CA"));
        let leaf = version_1("alice", &Issuer::new(params, key));
        verify(&leaf, &[middle], &roots, Purpose::Client, now)
    };
    let dns = || GeneralSubtree::DnsName("example.com".to_owned());
    assert_eq!(verdict(dns(), false), Ok(()));
    assert_eq!(verdict(dns(), true), Ok(()));
    let directory = || GeneralSubtree::DirectoryName(named("bob").distinguished_name);
    assert_eq!(verdict(directory(), false), Err(ChainError::UnknownAuthority));
    assert_eq!(verdict(directory(), true), Err(ChainError::UnknownAuthority));
}

/// Go and OpenSSL accept a CA's own certificate as a client certificate.
#[test]
fn a_ca_with_constrained_names_may_be_a_client() {
    let (root, roots) = ca("ca");
    let key = KeyPair::generate().expect("a key");
    let mut params = named("middle");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
        excluded_subtrees: vec![],
    });
    let middle = CertificateDer::from(params.signed_by(&key, &root).expect("a CA"));
    assert_eq!(verify(&middle, &[], &roots, Purpose::Client, SystemTime::now()), Ok(()));
}
