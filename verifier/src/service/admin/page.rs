//! Pages of lists whose rows have a number: no answer is larger than a page
//! (CVE class of SPIRE 1.9.3).

use super::{PAGE_DEFAULT, PAGE_MAX};
use crate::service::error::Refusal;

/// Which page was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    size: u32,
    /// The number of the last row of the page before.
    pub(super) from: Option<u64>,
}

impl Page {
    /// # Errors
    /// A size beyond the cap, or a token that no page came with.
    pub(super) fn parse(size: u32, token: &str) -> Result<Self, Refusal> {
        let size = match size {
            0 => PAGE_DEFAULT,
            size if size <= PAGE_MAX => size,
            _ => {
                return Err(Refusal::AdminInput(format!(
                    "a page has at most {PAGE_MAX} rows"
                )));
            }
        };
        let from = match token {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Refusal::AdminInput("page_token is not one that a page came with".to_owned())
            })?),
        };
        Ok(Self { size, from })
    }

    /// How many rows to fetch: one more than is shown, to see whether it goes on.
    pub(super) fn fetch(&self) -> u32 {
        self.size + 1
    }

    /// The rows of this page, and the token of the next one.
    pub(super) fn cut<T>(&self, mut rows: Vec<T>, number: impl Fn(&T) -> u64) -> (Vec<T>, String) {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last| number(last).to_string());
        (rows, next.unwrap_or_default())
    }
}

/// Most versions in one answer that has no pages: more than anyone signs by hand.
const VERSIONS_MAX: u32 = 1000;

/// How many versions to fetch for such an answer: one more than is shown.
pub(super) const VERSIONS_FETCH: u32 = VERSIONS_MAX + 1;

/// What of them is shown, and whether that is less than there are.
pub(super) fn cut_versions<T>(mut versions: Vec<T>) -> (Vec<T>, bool) {
    let max = usize::try_from(VERSIONS_MAX).unwrap_or(usize::MAX);
    let cut = versions.len() > max;
    versions.truncate(max);
    (versions, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_c35_a_page_is_bounded_and_its_token_exact() {
        assert_eq!(
            Page::parse(0, "").unwrap(),
            Page {
                size: PAGE_DEFAULT,
                from: None
            }
        );
        assert_eq!(Page::parse(PAGE_MAX, "7").unwrap().from, Some(7));
        for (size, token) in [(PAGE_MAX + 1, ""), (u32::MAX, ""), (1, "x"), (1, "-1")] {
            assert!(matches!(
                Page::parse(size, token),
                Err(Refusal::AdminInput(_))
            ));
        }
    }

    #[test]
    fn cve_c35_versions_that_are_cut_are_said_to_be() {
        assert_eq!(cut_versions(vec![1; 1000]), (vec![1; 1000], false));
        assert_eq!(cut_versions(vec![1; 1001]), (vec![1; 1000], true));
    }

    #[test]
    fn a_page_that_is_not_the_last_says_where_to_go_on() {
        let page = Page::parse(2, "").unwrap();
        assert_eq!(
            page.cut(vec![5, 4, 3], |n| *n),
            (vec![5, 4], "4".to_owned())
        );
        assert_eq!(page.cut(vec![5, 4], |n| *n), (vec![5, 4], String::new()));
        assert_eq!(page.cut(vec![], |n| *n), (vec![], String::new()));
    }
}
