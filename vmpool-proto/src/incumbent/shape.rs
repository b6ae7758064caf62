//! What all of the incumbent's structures have in common: every field may be
//! missing, empty ones are not written, and no value shows in the `Debug` form.

/// Whether a value is what a missing field reads as.
pub(super) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Declares structures of the incumbent's JSON, each of these properties on
/// each field.
macro_rules! json {
    ($(
        $(#[$about:meta])*
        pub struct $name:ident {
            $( $(#[$detail:meta])* pub $field:ident: $kind:ty, )*
        }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(default)]
        pub struct $name {
            $(
                $(#[$detail])*
                #[serde(skip_serializing_if = "crate::incumbent::shape::is_zero")]
                pub $field: $kind,
            )*
        }

        /// Names the fields that are there, and shows none of them.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let mut shown = f.debug_struct(stringify!($name));
                $(
                    if !crate::incumbent::shape::is_zero(&self.$field) {
                        shown.field(stringify!($field), &format_args!("_"));
                    }
                )*
                shown.finish()
            }
        }
    )*};
}
