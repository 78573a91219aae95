-- What changes of a run. What does not is beside it, so that it is not written again with each change.
CREATE TABLE runs (
    tenant TEXT NOT NULL,
    run BLOB NOT NULL,
    pipeline TEXT NOT NULL,
    started INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner INTEGER,
    outcome TEXT,
    ended INTEGER,
    PRIMARY KEY (tenant, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX runs_open ON runs (tenant, run) WHERE outcome IS NULL;
CREATE INDEX runs_ended ON runs (tenant, ended) WHERE ended IS NOT NULL;

CREATE TABLE headers (
    tenant TEXT NOT NULL,
    run BLOB NOT NULL,
    header TEXT NOT NULL,
    input_version INTEGER,
    input BLOB,
    PRIMARY KEY (tenant, run),
    FOREIGN KEY (tenant, run) REFERENCES runs (tenant, run) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    tenant TEXT NOT NULL,
    run BLOB NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    payload_version INTEGER,
    payload BLOB,
    PRIMARY KEY (tenant, run, seq),
    FOREIGN KEY (tenant, run) REFERENCES runs (tenant, run) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE pauses (
    tenant TEXT NOT NULL,
    run BLOB NOT NULL,
    token TEXT NOT NULL,
    stage TEXT NOT NULL,
    opened INTEGER NOT NULL,
    expires INTEGER,
    answer_version INTEGER,
    answer BLOB,
    answered INTEGER,
    answered_by TEXT,
    PRIMARY KEY (tenant, run, token),
    FOREIGN KEY (tenant, run) REFERENCES runs (tenant, run) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE answers (
    tenant TEXT NOT NULL,
    key BLOB NOT NULL,
    pipeline TEXT NOT NULL,
    stage TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    lease INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    -- Of a lease, or of an answer.
    until INTEGER NOT NULL,
    failure INTEGER,
    answer_version INTEGER,
    answer BLOB,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_until ON answers (tenant, until);

CREATE TABLE audit (
    tenant TEXT NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER audit_is_only_added BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE tenant = NEW.tenant AND seq >= NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'audit records are only ever added');
END;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are only ever added');
END;

CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are only ever added');
END;

-- Which open stores hold leases, and until when. It has nothing of a tenant.
CREATE TABLE owners (
    owner INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;
