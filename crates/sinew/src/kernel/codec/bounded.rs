//! A limit on what hostile bytes can make a reader of a binary format do.
//!
//! Neither format's own reader has enough of one. Postcard nests without end, rmp-serde counts
//! arrays and maps but no enums, and a stack that overflows takes the process with it. Postcard
//! also believes a length of 2^64 where an element takes no bytes. So every step of reading goes
//! through a [`Bounded`].

use std::cell::Cell;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

/// How deep elements, fields, variants and `Some`s may nest. Twice what `serde_json` allows its
/// arrays and maps, since an optional child is two of them here.
const DEPTH_MAX: u32 = 256;
/// Elements beyond one for each byte of the payload: those that take none.
const EMPTY_ELEMENTS_MAX: usize = 65_536;
/// What a collection may set aside before it has seen its elements; some types ask for no less.
const SIZE_HINT_MAX: usize = 4_096;

/// Reads a value from `payload_len` bytes.
pub(super) fn read<'de, D, V>(reader: D, payload_len: usize) -> Result<V, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let elements_left = Cell::new(payload_len.saturating_add(EMPTY_ELEMENTS_MAX));
    let bounds = Bounds { depth_left: DEPTH_MAX, elements_left: &elements_left, counting: false };
    V::deserialize(bounds.around(reader))
}

/// A reader, a visitor, a seed or an access of serde, within bounds.
struct Bounded<'a, T> {
    inner: T,
    bounds: Bounds<'a>,
}

#[derive(Clone, Copy)]
struct Bounds<'a> {
    depth_left: u32,
    elements_left: &'a Cell<usize>,
    /// Whether the payload says how many elements there are, not the type.
    counting: bool,
}

impl<'a> Bounds<'a> {
    fn around<T>(self, inner: T) -> Bounded<'a, T> {
        Bounded { inner, bounds: self }
    }

    fn counting(self) -> Self {
        Self { counting: true, ..self }
    }

    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Self { depth_left, counting: false, ..self }),
            None => Err(E::custom("nested too deeply")),
        }
    }

    fn count<E: de::Error>(self) -> Result<(), E> {
        if self.counting {
            let left = self.elements_left.get().checked_sub(1);
            self.elements_left.set(left.ok_or_else(|| E::custom("too many elements"))?);
        }
        Ok(())
    }
}

macro_rules! read_through {
    ($($method:ident($($arg:ident: $of:ty),*);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $of,)* visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method($($arg,)* self.bounds.around(visitor))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    read_through! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_seq(self.bounds.counting().around(visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(self.bounds.counting().around(visitor))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit_through {
    ($($method:ident($($value:ident: $of:ty)?);)*) => {$(
        fn $method<E: de::Error>(self, $($value: $of)?) -> Result<V::Value, E> {
            self.inner.$method($($value)?)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit_through! {
        visit_bool(value: bool);
        visit_i8(value: i8);
        visit_i16(value: i16);
        visit_i32(value: i32);
        visit_i64(value: i64);
        visit_i128(value: i128);
        visit_u8(value: u8);
        visit_u16(value: u16);
        visit_u32(value: u32);
        visit_u64(value: u64);
        visit_u128(value: u128);
        visit_f32(value: f32);
        visit_f64(value: f64);
        visit_char(value: char);
        visit_str(value: &str);
        visit_borrowed_str(value: &'de str);
        visit_string(value: String);
        visit_bytes(value: &[u8]);
        visit_borrowed_bytes(value: &'de [u8]);
        visit_byte_buf(value: Vec<u8>);
        visit_none();
        visit_unit();
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        let bounds = self.bounds.deeper::<D::Error>()?;
        self.inner.visit_some(bounds.around(reader))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, reader: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(self.bounds.around(reader))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(self.bounds.around(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(self.bounds.around(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(self.bounds.around(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<S::Value, D::Error> {
        let bounds = self.bounds.deeper::<D::Error>()?;
        self.inner.deserialize(bounds.around(reader))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let element = self.inner.next_element_seed(self.bounds.around(seed))?;
        if element.is_some() {
            self.bounds.count::<A::Error>()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(SIZE_HINT_MAX))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        let key = self.inner.next_key_seed(self.bounds.around(seed))?;
        if key.is_some() {
            self.bounds.count::<A::Error>()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(self.bounds.around(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint().map(|hint| hint.min(SIZE_HINT_MAX))
    }
}

impl<'a, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'a, A> {
    type Error = A::Error;
    type Variant = Bounded<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        let (name, content) = self.inner.variant_seed(self.bounds.around(seed))?;
        Ok((name, self.bounds.around(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(self.bounds.around(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, self.bounds.around(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, self.bounds.around(visitor))
    }
}
