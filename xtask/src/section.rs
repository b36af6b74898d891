//! A section of a page that a verb writes while others write the rest of it.

/// From its heading to the next one of the same rank, or to the end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
}

impl Section {
    /// What the page has under the heading, if it has it.
    pub(crate) fn take_from(self, page: &str) -> Option<String> {
        let (_, body, _) = self.split(page)?;
        Some(body.trim().to_owned())
    }

    /// The page with this as the section: in its place, or else at the end.
    pub(crate) fn put_into(self, page: &str, body: &str) -> String {
        let (before, after) = match self.split(page) {
            Some((before, _, after)) => (before, after),
            None => (page, ""),
        };
        let section = format!("{}\n\n## {}\n\n{}\n", before.trim_end(), self.title, body.trim());
        if after.is_empty() { section } else { format!("{section}\n{after}") }
    }

    fn split(self, page: &str) -> Option<(&str, &str, &str)> {
        let heading = format!("\n## {}\n", self.title);
        let (before, rest) = page.split_once(&heading)?;
        let end = rest.find("\n## ").map_or(rest.len(), |at| at + 1);
        Some((before, &rest[..end], &rest[end..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: Section = Section { title: "Mine" };

    #[test]
    fn the_rest_of_the_page_stays() {
        let page = "# Page\n\n## First\n\na\n";
        assert_eq!(SECTION.take_from(page), None);
        let with = SECTION.put_into(page, "b\n");
        assert_eq!(with, "# Page\n\n## First\n\na\n\n## Mine\n\nb\n");
        let more = format!("{with}\n## Last\n\nc\n");
        assert_eq!(SECTION.take_from(&more).as_deref(), Some("b"));
        let again = SECTION.put_into(&more, "d");
        assert_eq!(again, more.replace("b\n", "d\n"));
        assert_eq!(SECTION.put_into(&again, "d"), again);
    }
}
