//! What an answer is to tell besides what it answers, whatever that will be: a refusal tells it, too.

use std::cell::RefCell;
use std::rc::Rc;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpMessage, HttpRequest};

use crate::deprecation::Deprecation;
use crate::rates::Allowance;

/// The notices of one request. Cheap to clone: all clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notices(Rc<RefCell<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    allowance: Option<Allowance>,
    deprecation: Option<Deprecation>,
}

impl Notices {
    /// Those of this request.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let found = request.extensions().get::<Self>().cloned();
        found.unwrap_or_default()
    }

    /// What the key may still do.
    pub(crate) fn allowance(&self, allowance: Allowance) {
        self.0.borrow_mut().allowance = Some(allowance);
    }

    /// What was used goes away: the operation, or the secret. Of several the last one is told.
    pub(crate) fn deprecated(&self, deprecation: Deprecation) {
        self.0.borrow_mut().deprecation = Some(deprecation);
    }

    /// Adds their headers to an answer.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let noted = self.0.borrow();
        if let Some(allowance) = &noted.allowance {
            allowance.write(headers);
        }
        if let Some(deprecation) = &noted.deprecation {
            deprecation.write(headers);
        }
    }
}
