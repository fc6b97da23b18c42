"""Pure functions of records and arrays: adsorption, anomalies and the growth verdict."""
