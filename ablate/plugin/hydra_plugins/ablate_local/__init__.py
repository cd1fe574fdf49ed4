"""Hydra's door to the local pool: `hydra/launcher=ablate_local`. Imports nothing: Hydra runs the modules itself."""
