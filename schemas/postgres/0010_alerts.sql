-- What lasts and needs somebody's look, told by the worker in which it lasts, for whoever watches the deployment.

ALTER TABLE ledger.members ADD COLUMN alerts jsonb NOT NULL DEFAULT '[]';
ALTER TABLE delivery.members ADD COLUMN alerts jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN ledger.members.alerts IS
    'Alerts that last in this process: [{code, connector, since, …}]; renewed with the lease, gone with the member.';
COMMENT ON COLUMN delivery.members.alerts IS
    'Alerts that last in this process: [{code, connector, since, …}]; renewed with the lease, gone with the member.';
