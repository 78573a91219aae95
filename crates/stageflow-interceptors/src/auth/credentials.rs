//! What a caller shows to prove who it is. The secret leaves it by one door only.

use std::{
    borrow::Cow,
    fmt,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use stageflow_core::text::OneLine;

/// What a caller shows to prove who it is: an extension of the run's snapshot.
///
/// `Debug` and `Display` tell the scheme and never the secret, and there is no way to serialise it.
///
/// ```
/// use stageflow_core::ContextSnapshot;
/// use stageflow_interceptors::Credentials;
///
/// let shown = Credentials::bearer("s3cr3t");
/// assert_eq!(format!("{shown} {shown:?}"), "bearer credentials Credentials(bearer)");
/// assert!(shown.matches("s3cr3t") && !shown.matches("s3cr3T"));
/// let snapshot = ContextSnapshot::builder().extension(shown).build();
/// assert!(snapshot.extension::<Credentials>().is_some());
/// ```
///
/// ```compile_fail
/// use stageflow_core::Extensions;
/// use stageflow_interceptors::Credentials;
/// // Not `Serialize`: it cannot be kept beyond the process.
/// Extensions::default().insert_named("credentials", Credentials::bearer("s3cr3t"));
/// ```
#[derive(Clone)]
pub struct Credentials {
    scheme: Cow<'static, str>,
    secret: Arc<str>,
    id: u64,
}

impl Credentials {
    /// A secret of the scheme, such as `bearer`.
    pub fn new(scheme: impl Into<Cow<'static, str>>, secret: impl Into<Arc<str>>) -> Self {
        Self { scheme: scheme.into(), secret: secret.into(), id: next_id() }
    }

    /// A bearer token (RFC 6750), without the word `Bearer`.
    pub fn bearer(token: impl Into<Arc<str>>) -> Self {
        Self::new("bearer", token)
    }

    /// An API key.
    pub fn api_key(key: impl Into<Arc<str>>) -> Self {
        Self::new("api key", key)
    }

    /// Of what kind the secret is.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The secret itself, for authenticators alone.
    pub fn expose_secret(&self) -> &str {
        &self.secret
    }

    /// Whether the secret is this one, in a time that tells nothing but the length.
    pub fn matches(&self, secret: &str) -> bool {
        let (own, other) = (self.secret.as_bytes(), secret.as_bytes());
        let differs = own.iter().zip(other).fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
        own.len() == other.len() && differs == 0
    }

    /// Which of all credentials of the process this is; clones are the same.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

/// A number that no other credentials and no other admission of the process have.
pub(super) fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} credentials", OneLine(self.scheme()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", OneLine(self.scheme()))
    }
}
