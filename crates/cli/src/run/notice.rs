//! Notices about the settings, logged once logging has started.

/// In the order found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Notices {
    all: Vec<Notice>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Notice {
    is_warning: bool,
    setting: String,
    text: String,
}

impl Notices {
    /// A notice without consequences.
    pub(crate) fn info(&mut self, setting: impl Into<String>, text: impl Into<String>) {
        self.push(false, setting.into(), text.into());
    }

    /// The operator may have meant something else.
    pub(crate) fn warn(&mut self, setting: impl Into<String>, text: impl Into<String>) {
        self.push(true, setting.into(), text.into());
    }

    /// Appends `others`.
    pub(crate) fn append(&mut self, mut others: Notices) {
        self.all.append(&mut others.all);
    }

    fn push(&mut self, is_warning: bool, setting: String, text: String) {
        self.all.push(Notice { is_warning, setting, text });
    }

    /// Writes them to the log.
    pub(crate) fn log(&self) {
        for Notice { is_warning, setting, text } in &self.all {
            if *is_warning {
                tracing::warn!(setting, "{text}");
            } else {
                tracing::info!(setting, "{text}");
            }
        }
    }

    /// The texts about one setting.
    #[cfg(test)]
    pub(crate) fn about(&self, setting: &str) -> Vec<&str> {
        let about = self.all.iter().filter(|notice| notice.setting == setting);
        about.map(|notice| notice.text.as_str()).collect()
    }
}
