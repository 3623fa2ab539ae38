-- The same facts as the gateway keeps, in the tables a careful service would make. Numbers as keys, which is smaller than any outside id.
-- Unlogged: nothing is written twice and nothing is synced, which is more than the gateway allows itself.
CREATE UNLOGGED TABLE connections (
    id int NOT NULL, tenant int NOT NULL, connector text NOT NULL, connector_digest bytea NOT NULL, consent text NOT NULL,
    policy_version text NOT NULL, purposes text[] NOT NULL, credential_generation int NOT NULL
);
CREATE UNLOGGED TABLE runs (id int NOT NULL, connection int NOT NULL, stream text NOT NULL, started_at timestamptz NOT NULL);
CREATE UNLOGGED TABLE pages (
    id int NOT NULL, run int NOT NULL, method text NOT NULL, url text NOT NULL, status smallint NOT NULL, attempt smallint NOT NULL,
    requested_at timestamptz NOT NULL, received_at timestamptz NOT NULL, response_sha256 bytea NOT NULL, bytes int NOT NULL, request_id text
);
CREATE UNLOGGED TABLE records (
    id bigint NOT NULL, connection int NOT NULL, page int NOT NULL, version int NOT NULL, pointer text NOT NULL,
    primary_key text NOT NULL, content_digest bytea NOT NULL, delete_after timestamptz NOT NULL
);
CREATE UNLOGGED TABLE payloads (record bigint NOT NULL, body text NOT NULL);
CREATE UNLOGGED TABLE keys (tenant int NOT NULL, kind text NOT NULL, value text NOT NULL, record bigint NOT NULL);
CREATE UNLOGGED TABLE artifacts (id bigint NOT NULL, tenant int NOT NULL, kind text NOT NULL, name text NOT NULL, need text NOT NULL, inputs int NOT NULL);
CREATE UNLOGGED TABLE edges (source bigint NOT NULL, target bigint NOT NULL);
