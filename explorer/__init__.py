"""The Streamlit app: what a person sees and touches."""
