-- The auth database: accounts, sessions and revocations. Run by the auth service at its start: it must stay idempotent.
CREATE TABLE IF NOT EXISTS auth_users (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    provider    text NOT NULL,
    subject     text NOT NULL,
    email       text NOT NULL,
    name        text NOT NULL,
    is_active   boolean NOT NULL DEFAULT true,
    permissions text[] NOT NULL DEFAULT '{chat}',
    version     bigint NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (provider, subject)
);
CREATE INDEX IF NOT EXISTS auth_users_email ON auth_users (email);

-- A session is one login on one device: the family of all refresh tokens that descend from it.
CREATE TABLE IF NOT EXISTS sessions (
    id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id      uuid NOT NULL REFERENCES auth_users (id),
    access_ttl_s double precision NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz
);
CREATE INDEX IF NOT EXISTS sessions_user ON sessions (user_id) WHERE revoked_at IS NULL;

-- access_jti: the access token that was handed out beside this refresh token, so that a family can be revoked whole.
CREATE TABLE IF NOT EXISTS refresh_tokens (
    hash              bytea PRIMARY KEY,
    family            uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    access_jti        text NOT NULL,
    access_expires_at timestamptz NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    expires_at        timestamptz NOT NULL,
    used_at           timestamptz
);
CREATE INDEX IF NOT EXISTS refresh_tokens_family ON refresh_tokens (family);
CREATE INDEX IF NOT EXISTS refresh_tokens_expiry ON refresh_tokens (expires_at);

-- Durable copy of what stands in Redis: exactly one of jti and subject.
CREATE TABLE IF NOT EXISTS revoked (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    jti     text,
    subject uuid,
    at      timestamptz NOT NULL,
    until   timestamptz NOT NULL,
    sent_at timestamptz,
    CHECK ((jti IS NULL) <> (subject IS NULL))
);
CREATE INDEX IF NOT EXISTS revoked_unsent ON revoked (id) WHERE sent_at IS NULL;

CREATE TABLE IF NOT EXISTS outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    uuid NOT NULL,
    version    bigint NOT NULL,
    payload    jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at    timestamptz
);
CREATE INDEX IF NOT EXISTS outbox_unsent ON outbox (id) WHERE sent_at IS NULL;

-- Which Redis has been told: another run id means that it may have forgotten.
CREATE TABLE IF NOT EXISTS relay (
    single_row   boolean PRIMARY KEY DEFAULT true CHECK (single_row),
    redis_run_id text NOT NULL
);

CREATE TABLE IF NOT EXISTS signing_keys (
    kid         text PRIMARY KEY,
    private_pem text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    retires_at  timestamptz
);
