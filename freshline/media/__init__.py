"""What was refreshed and prefetched by media id, for as long as its tasks are kept."""
