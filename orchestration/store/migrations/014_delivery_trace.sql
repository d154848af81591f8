-- The W3C trace context of the run, as JSON; what is told of it is told within its trace.
ALTER TABLE webhook_deliveries ADD COLUMN trace TEXT;
