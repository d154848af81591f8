-- The metadata of the run that a delivery tells of: they say whose it is, when the run is long gone.
ALTER TABLE webhook_deliveries ADD COLUMN metadata TEXT NOT NULL DEFAULT '{}';
-- Who a run is for, as its graph sees them; of no business of clients.
ALTER TABLE runs ADD COLUMN principal TEXT;
