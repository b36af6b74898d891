//! Decides when to warn that a certificate expires: 30 days, 7 days and 1 day
//! ahead, and after expiry; once each. Pure.
//!
//! Certificates with less than three times that lifetime are meant to be
//! renewed late: for them the warnings come in the last third of their life.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use crate::certificate::Certificate;
use crate::roots::LoadedCertificate;

const DAY: Duration = Duration::from_secs(86_400);

/// How close the expiry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Month,
    Week,
    Day,
    Over,
}

/// A certificate that needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// The name of the configuration.
    pub(crate) name: String,
    pub(crate) loaded: LoadedCertificate,
    pub(crate) stage: Stage,
}

/// A configuration's name, and a certificate by its fingerprint.
type Told = (String, [u8; 32]);

/// Remembers which warnings were issued.
#[derive(Debug, Default)]
pub(crate) struct ExpiryWatch {
    told: HashMap<Told, Stage>,
}

impl ExpiryWatch {
    /// The warnings to issue now, in the order of the certificates.
    /// Certificates that are no longer loaded are forgotten.
    pub(crate) fn due(
        &mut self,
        loaded: &[(String, LoadedCertificate)],
        now: SystemTime,
    ) -> Vec<Warning> {
        let before = std::mem::take(&mut self.told);
        let mut due = Vec::new();
        for (name, loaded) in loaded {
            let Some(stage) = stage(&loaded.certificate, now) else { continue };
            let key = (name.clone(), loaded.certificate.fingerprint);
            let told = self.told.get(&key).or_else(|| before.get(&key)).copied();
            if told.is_none_or(|told| told < stage) {
                let (name, loaded) = (name.clone(), loaded.clone());
                due.push(Warning { name, loaded, stage });
            }
            self.told.insert(key, stage);
        }
        due
    }
}

fn stage(certificate: &Certificate, now: SystemTime) -> Option<Stage> {
    let Ok(left) = certificate.not_after.duration_since(now) else { return Some(Stage::Over) };
    let life = certificate.not_after.duration_since(certificate.not_before).unwrap_or_default();
    let ahead = [(Stage::Day, DAY), (Stage::Week, 7 * DAY), (Stage::Month, 30 * DAY)];
    let reached = ahead.into_iter().find(|(_, ahead)| left <= (*ahead).min(life / 3));
    reached.map(|(stage, _)| stage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roots::Role;
    use std::time::UNIX_EPOCH;

    fn loaded(life: Duration) -> Vec<(String, LoadedCertificate)> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = time::OffsetDateTime::UNIX_EPOCH;
        params.not_after = time::OffsetDateTime::UNIX_EPOCH + life;
        let der = params.self_signed(&key).unwrap();
        let certificate = Certificate::from_der(der.der()).unwrap();
        let loaded = LoadedCertificate { path: None, role: Role::Leaf, certificate };
        vec![("client".to_owned(), loaded)]
    }

    fn stages(life: Duration, ages: &[Duration]) -> Vec<Option<Stage>> {
        let (mut watch, loaded) = (ExpiryWatch::default(), loaded(life));
        let mut at = |age: &Duration| watch.due(&loaded, UNIX_EPOCH + *age);
        ages.iter().map(|age| at(age).first().map(|warning| warning.stage)).collect()
    }

    #[test]
    fn each_stage_is_told_once() {
        let ages = [0, 334, 335, 336, 357, 358, 359, 364, 365, 366, 400].map(|days| days * DAY);
        let expected = [
            None,
            None,
            Some(Stage::Month),
            None,
            None,
            Some(Stage::Week),
            None,
            Some(Stage::Day),
            None,
            Some(Stage::Over),
            None,
        ];
        assert_eq!(stages(365 * DAY, &ages), expected);
    }

    #[test]
    fn short_lives_are_warned_of_in_their_last_third() {
        let ages = [0, 15, 16, 17, 23, 25].map(|hours| hours * DAY / 24);
        let expected = [None, None, Some(Stage::Day), None, None, Some(Stage::Over)];
        assert_eq!(stages(DAY, &ages), expected);
    }

    #[test]
    fn a_certificate_that_left_is_forgotten() {
        let (mut watch, loaded) = (ExpiryWatch::default(), loaded(DAY));
        let now = UNIX_EPOCH + 2 * DAY;
        assert_eq!(watch.due(&loaded, now).len(), 1);
        assert_eq!(watch.due(&loaded, now).len(), 0);
        assert_eq!(watch.due(&[], now).len(), 0);
        assert_eq!(watch.due(&loaded, now).len(), 1);
    }
}
