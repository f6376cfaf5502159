"""Language models: adapters for the Backend port."""
