-- Messages, each in one mailbox; `number` is its offset. `metadata` say who sees it.
CREATE TABLE messages (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sender TEXT NOT NULL,
    topic TEXT,
    correlation_id TEXT,
    priority INTEGER NOT NULL,
    hops INTEGER NOT NULL,
    content TEXT NOT NULL,
    metadata TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    expires_at TEXT,
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'delivered', 'dead', 'expired', 'dropped')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due_at TEXT,
    ended_at TEXT,
    error TEXT
);
CREATE INDEX messages_of_mailbox ON messages (mailbox, number);
CREATE INDEX messages_waiting ON messages (mailbox, sender, priority, number)
    WHERE status = 'pending';
CREATE INDEX messages_by_status ON messages (mailbox, status, number);
CREATE INDEX messages_expiring ON messages (mailbox, expires_at)
    WHERE status = 'pending' AND expires_at IS NOT NULL;
CREATE INDEX messages_over ON messages (mailbox, number) WHERE status <> 'pending';
CREATE INDEX messages_ended ON messages (ended_at) WHERE ended_at IS NOT NULL;

-- The ids that senders gave, by which they are known again; `offsets` is what they were answered.
CREATE TABLE message_ids (
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    message_id TEXT NOT NULL,
    sent_at TEXT NOT NULL,
    offsets TEXT NOT NULL,
    PRIMARY KEY (sender, recipient, message_id)
) WITHOUT ROWID;
CREATE INDEX message_ids_by_age ON message_ids (sent_at);

-- How many messages of a mailbox wait and how many are over, so that no bound needs counting.
CREATE TABLE mailboxes (
    mailbox TEXT PRIMARY KEY,
    waiting INTEGER NOT NULL,
    ended INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER messages_inserted AFTER INSERT ON messages BEGIN
    INSERT INTO mailboxes VALUES (NEW.mailbox, 1, 0)
    ON CONFLICT (mailbox) DO UPDATE SET waiting = waiting + 1;
END;
CREATE TRIGGER messages_settled AFTER UPDATE OF status ON messages
WHEN OLD.status = 'pending' AND NEW.status <> 'pending' BEGIN
    UPDATE mailboxes SET waiting = waiting - 1, ended = ended + 1 WHERE mailbox = NEW.mailbox;
END;
CREATE TRIGGER messages_revived AFTER UPDATE OF status ON messages
WHEN OLD.status <> 'pending' AND NEW.status = 'pending' BEGIN
    UPDATE mailboxes SET waiting = waiting + 1, ended = ended - 1 WHERE mailbox = NEW.mailbox;
END;
CREATE TRIGGER messages_forgotten AFTER DELETE ON messages BEGIN
    UPDATE mailboxes SET waiting = waiting - (OLD.status = 'pending'),
        ended = ended - (OLD.status <> 'pending')
    WHERE mailbox = OLD.mailbox;
END;
