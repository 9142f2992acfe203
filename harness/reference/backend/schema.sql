-- The main database. Run by every replica at its start, under an advisory lock: it must stay idempotent.

CREATE TABLE IF NOT EXISTS userbase (
    id          uuid PRIMARY KEY,
    email       text NOT NULL,
    name        text NOT NULL,
    is_active   boolean NOT NULL,
    permissions text[] NOT NULL DEFAULT '{}',
    provider    text NOT NULL DEFAULT '',
    subject     text NOT NULL DEFAULT '',
    version     bigint NOT NULL,
    synced_at   timestamptz NOT NULL DEFAULT now()
);
-- Not unique: the auth database decides about accounts; a copy must be able to show what it was told.
CREATE INDEX IF NOT EXISTS userbase_email ON userbase (lower(email));

CREATE TABLE IF NOT EXISTS conversations (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key        text NOT NULL UNIQUE,
    title      text NOT NULL,
    head       bigint NOT NULL DEFAULT 0,
    removals   bigint NOT NULL DEFAULT 0,  -- how often somebody was removed: tells old news of members from new
    edits      bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);  -- `head` moves with every commit: room for updates inside the page

-- Invited by e-mail; `user_id` is filled in when the person first uses the platform, and stands from then on.
CREATE TABLE IF NOT EXISTS members (
    conversation_id bigint NOT NULL REFERENCES conversations,
    email           text NOT NULL,
    user_id         text,
    since           bigint NOT NULL DEFAULT 0,  -- removals of the conversation when this membership began
    PRIMARY KEY (conversation_id, email)
);
CREATE INDEX IF NOT EXISTS members_email ON members (email);
CREATE INDEX IF NOT EXISTS members_user ON members (user_id, conversation_id);

-- `sender` is a user's id or the id of an agent, which is never a uuid.
CREATE TABLE IF NOT EXISTS messages (
    conversation_id bigint NOT NULL,
    seq             bigint NOT NULL,
    client_id       text NOT NULL,
    sender          text NOT NULL,
    body            text NOT NULL,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, seq),
    UNIQUE (conversation_id, sender, client_id)
);

-- Edits stand beside their messages, numbered in the conversation without gaps; `conversations.edits` is the last number.
CREATE TABLE IF NOT EXISTS edits (
    conversation_id bigint NOT NULL REFERENCES conversations,
    number          bigint NOT NULL,
    seq             bigint NOT NULL,
    version         bigint NOT NULL,
    body            text NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, number),
    UNIQUE (conversation_id, seq, version)
);

-- How far a user has read a conversation.
CREATE TABLE IF NOT EXISTS read_marks (
    user_id         text NOT NULL,
    conversation_id bigint NOT NULL REFERENCES conversations,
    seq             bigint NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
);

-- Which of the asked memberships hold, and how many removals the conversation has seen by now.
CREATE OR REPLACE FUNCTION memberships(user_ids text[], emails text[], keys text[])
RETURNS TABLE (of_user text, of_key text, conversation_id bigint, removals bigint)
LANGUAGE plpgsql STABLE
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT w.user_id, w.key, c.id, c.removals
    FROM unnest(user_ids, emails, keys) AS w (user_id, email, key) JOIN conversations c ON c.key = w.key
    WHERE EXISTS (SELECT 1 FROM members m WHERE m.user_id = w.user_id AND m.conversation_id = c.id)
       OR EXISTS (SELECT 1 FROM members m WHERE m.conversation_id = c.id AND m.email = w.email AND m.user_id IS NULL);
END $$;

-- Stores a batch in one transaction. The row locks of the conversations, taken in order of their ids, are held to
-- the commit: numbers are contiguous, and whoever sees number n can read 1..n. A message whose
-- (conversation, sender, client id) is known keeps its first number and is not stored again.
-- A batch must not name one message twice.
-- Planned while the table was small, scans would stay in the cached plan when it has grown: they are off.
CREATE OR REPLACE FUNCTION append_messages(of_conversations bigint[], senders text[], client_ids text[], bodies text[])
RETURNS TABLE (place bigint, number bigint, fresh boolean)
LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
BEGIN
    PERFORM 1 FROM conversations c WHERE c.id = ANY (of_conversations) ORDER BY c.id FOR NO KEY UPDATE;
    RETURN QUERY
    WITH wanted AS MATERIALIZED (
        SELECT u.* FROM unnest(of_conversations, senders, client_ids, bodies)
            WITH ORDINALITY AS u (conversation_id, sender, client_id, body, place)
    ), known AS MATERIALIZED (
        SELECT w.place, m.seq FROM wanted w JOIN messages m USING (conversation_id, sender, client_id)
    ), numbered AS MATERIALIZED (
        SELECT w.*, c.head + row_number() OVER (PARTITION BY w.conversation_id ORDER BY w.place) AS seq
        FROM wanted w JOIN conversations c ON c.id = w.conversation_id
        WHERE w.place NOT IN (SELECT k.place FROM known k)
    ), stored AS (
        INSERT INTO messages (conversation_id, seq, client_id, sender, body, created_at)
        SELECT n.conversation_id, n.seq, n.client_id, n.sender, n.body, now() FROM numbered n
    ), moved AS (
        UPDATE conversations c SET head = t.top
        FROM (SELECT n.conversation_id, max(n.seq) AS top FROM numbered n GROUP BY 1) t
        WHERE c.id = t.conversation_id
    )
    SELECT n.place, n.seq, true FROM numbered n
    UNION ALL
    SELECT k.place, k.seq, false FROM known k;
END $$;
