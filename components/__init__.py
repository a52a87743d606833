"""What Mamba-2 Explorer is made of; usable from a notebook, without Streamlit."""
