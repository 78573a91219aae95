-- The tables of Stageflow in PostgreSQL 15 and newer: version 1.
--
-- Run it as the role that is to own the tables, in one transaction. The application connects as another role, which is neither that
-- owner nor a member of it, no superuser, and has no BYPASSRLS:
--
--     CREATE ROLE stageflow_app LOGIN NOSUPERUSER NOBYPASSRLS;
--     psql --single-transaction -v ON_ERROR_STOP=1 -v app=stageflow_app -f schema.sql
--
-- Each row belongs to the tenant in its first column. A session sees, and writes, rows of the tenant that its transaction has named and no
-- others: SELECT set_config('stageflow.tenant', 'acme', true). Without it there are no rows. FORCE holds the owner to this as well.
-- After a transaction the setting is '' and not NULL, so that '' is nobody's: neither a tenant nor a match.
-- The tenant stands first in every key, so that a key that is taken tells nothing of another tenant.
--
-- Times that an application has taken are nanoseconds since 1970 in bigint; leases go by the clock of the database.

CREATE SCHEMA stageflow;

-- Told apart by a function and not by a table, so that every table has rows of tenants only, and the same policy.
CREATE FUNCTION stageflow.schema_version() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1;

-- Runs, and who goes on with them: the holder of the last epoch, until the end of its lease.
CREATE TABLE stageflow.runs (
    tenant        text        NOT NULL CHECK (tenant <> ''),
    run           uuid        NOT NULL,
    epoch         bigint      NOT NULL,
    holder        uuid        NOT NULL,
    lease_until   timestamptz,
    next_seq      bigint      NOT NULL,
    pipeline      text        NOT NULL,
    started       bigint      NOT NULL,
    header        text        NOT NULL,
    input_version bigint,
    input         bytea,
    outcome       text,
    ended         bigint,
    PRIMARY KEY (tenant, run)
) WITH (fillfactor = 70);
CREATE INDEX runs_unfinished ON stageflow.runs (tenant, run) WHERE outcome IS NULL;

-- Entries of journals. They are only ever added, and go with their run. No foreign key: whoever adds them has locked the run.
CREATE TABLE stageflow.entries (
    tenant          text   NOT NULL CHECK (tenant <> ''),
    run             uuid   NOT NULL,
    seq             bigint NOT NULL,
    epoch           bigint NOT NULL,
    at              bigint NOT NULL,
    kind            text   NOT NULL,
    payload_version bigint,
    payload         bytea,
    PRIMARY KEY (tenant, run, seq)
);

-- Questions of runs to somebody outside, and their answers. `call` tells a repeated answer from another.
CREATE TABLE stageflow.pauses (
    tenant         text   NOT NULL CHECK (tenant <> ''),
    run            uuid   NOT NULL,
    token          text   NOT NULL,
    stage          text   NOT NULL,
    opened         bigint NOT NULL,
    expires        bigint,
    answer_version bigint,
    answer         bytea,
    answered_by    text,
    call           uuid,
    PRIMARY KEY (tenant, run, token)
);

-- Answers that are given once. `key` is the SHA-256 of pipeline, stage and the key of the caller.
CREATE TABLE stageflow.answers (
    tenant         text        NOT NULL CHECK (tenant <> ''),
    key            bytea       NOT NULL,
    fingerprint    bytea       NOT NULL,
    lease          bigint      NOT NULL,
    until          timestamptz NOT NULL,
    is_failure     boolean,
    answer_version bigint,
    answer         bytea,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX answers_until ON stageflow.answers (tenant, until);

-- Who was let do what. The application may add and read, and nothing else; each hash stands for all records before it.
CREATE TABLE stageflow.audit (
    tenant text   NOT NULL CHECK (tenant <> ''),
    seq    bigint NOT NULL,
    hash   bytea  NOT NULL,
    record text   NOT NULL,
    PRIMARY KEY (tenant, seq)
);

ALTER TABLE stageflow.runs    ENABLE ROW LEVEL SECURITY;
ALTER TABLE stageflow.runs    FORCE  ROW LEVEL SECURITY;
ALTER TABLE stageflow.entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE stageflow.entries FORCE  ROW LEVEL SECURITY;
ALTER TABLE stageflow.pauses  ENABLE ROW LEVEL SECURITY;
ALTER TABLE stageflow.pauses  FORCE  ROW LEVEL SECURITY;
ALTER TABLE stageflow.answers ENABLE ROW LEVEL SECURITY;
ALTER TABLE stageflow.answers FORCE  ROW LEVEL SECURITY;
ALTER TABLE stageflow.audit   ENABLE ROW LEVEL SECURITY;
ALTER TABLE stageflow.audit   FORCE  ROW LEVEL SECURITY;

CREATE POLICY stageflow_tenant ON stageflow.runs
    USING      (tenant = NULLIF(current_setting('stageflow.tenant', true), ''))
    WITH CHECK (tenant = NULLIF(current_setting('stageflow.tenant', true), ''));
CREATE POLICY stageflow_tenant ON stageflow.entries
    USING      (tenant = NULLIF(current_setting('stageflow.tenant', true), ''))
    WITH CHECK (tenant = NULLIF(current_setting('stageflow.tenant', true), ''));
CREATE POLICY stageflow_tenant ON stageflow.pauses
    USING      (tenant = NULLIF(current_setting('stageflow.tenant', true), ''))
    WITH CHECK (tenant = NULLIF(current_setting('stageflow.tenant', true), ''));
CREATE POLICY stageflow_tenant ON stageflow.answers
    USING      (tenant = NULLIF(current_setting('stageflow.tenant', true), ''))
    WITH CHECK (tenant = NULLIF(current_setting('stageflow.tenant', true), ''));
CREATE POLICY stageflow_tenant ON stageflow.audit
    USING      (tenant = NULLIF(current_setting('stageflow.tenant', true), ''))
    WITH CHECK (tenant = NULLIF(current_setting('stageflow.tenant', true), ''));

-- TRUNCATE asks no policy, so nobody but the owner may.
GRANT USAGE ON SCHEMA stageflow TO :"app";
GRANT SELECT, INSERT, UPDATE, DELETE ON stageflow.runs, stageflow.pauses, stageflow.answers TO :"app";
GRANT SELECT, INSERT, DELETE ON stageflow.entries TO :"app";
GRANT SELECT, INSERT ON stageflow.audit TO :"app";
