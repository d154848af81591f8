-- The deliveries for which there is nothing more to do: the oldest are forgotten first, and what one
-- still has of a thread is forgotten with that.
CREATE INDEX webhook_deliveries_over ON webhook_deliveries (created_at) WHERE due_at IS NULL;
CREATE INDEX webhook_deliveries_left ON webhook_deliveries (thread_id)
    WHERE due_at IS NULL AND payload IS NOT NULL;
