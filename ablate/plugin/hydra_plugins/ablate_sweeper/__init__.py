"""Hydra's door to studies: `hydra/sweeper=ablate`. Imports nothing: Hydra runs the modules itself."""
