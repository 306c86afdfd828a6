//! Bugs that tests plant, to see that they are caught. In what ships there are none.

/// Whether a test has planted this bug.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(test)]
        let is_planted = $crate::cache::simulator::is_planted($crate::cache::simulator::Bug::$bug);
        #[cfg(not(test))]
        let is_planted = false;
        is_planted
    }};
}
