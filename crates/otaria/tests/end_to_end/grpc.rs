//! The gRPC face called with the parameters of the other one: messages are made of them by the descriptors, so
//! that one table of cases serves both faces.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

use crate::cloud::Params;
use crate::faces::Faces;

/// A number that no enumeration has.
const NO_CHOICE: i32 = 77;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(otaria_proto::FILE_DESCRIPTOR_SET).unwrap());

/// All methods of the API: health and reflection are not among them.
pub(crate) fn methods() -> impl Iterator<Item = MethodDescriptor> {
    POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// Gives one call. A method that streams is called with one message and read to its first.
pub(crate) async fn call(faces: &Faces, action: &str, params: &Params) -> Result<DynamicMessage, Status> {
    let method = methods().find(|method| method.name() == action);
    let method = method.unwrap_or_else(|| panic!("no method {action}"));
    let path = format!("/{}/{action}", method.parent_service().full_name());
    let mut client = tonic::client::Grpc::new(faces.wire());
    client.ready().await.unwrap();
    let request = Request::new(message(&method.input(), params));
    let codec = Dynamic(method.output());
    client.unary(request, path.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
}

/// The message with these parameters.
fn message(descriptor: &MessageDescriptor, params: &Params) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    // Entries of lists by their numbers, and of structures in lists with their members.
    let mut lists: BTreeMap<&str, BTreeMap<u32, Params>> = BTreeMap::new();
    for (name, value) in params {
        match name.split_once('.') {
            None => {
                let field = field(descriptor, name);
                message.set_field(&field, one(&field, value));
            }
            Some((list, place)) => {
                let (number, member) = place.split_once('.').unwrap_or((place, ""));
                let entry = lists.entry(list).or_default().entry(number.parse().unwrap()).or_default();
                entry.insert(member.to_owned(), value.clone());
            }
        }
    }
    for (name, entries) in lists {
        let field = field(descriptor, name);
        let entries = entries.into_values().map(|members| match field.kind() {
            Kind::Message(descriptor) => Value::Message(self::message(&descriptor, &members)),
            _ => one(&field, &members[""]),
        });
        message.set_field(&field, Value::List(entries.collect()));
    }
    message
}

fn field(descriptor: &MessageDescriptor, parameter: &str) -> FieldDescriptor {
    let name = snake(parameter);
    descriptor.get_field_by_name(&name).unwrap_or_else(|| panic!("{} has no {name}", descriptor.name()))
}

fn one(field: &FieldDescriptor, text: &str) -> Value {
    let number = || text.parse::<i64>().unwrap_or_else(|_| panic!("{}: `{text}`", field.name()));
    match field.kind() {
        Kind::String => Value::String(text.to_owned()),
        Kind::Bool => Value::Bool(text.parse().unwrap_or_else(|_| panic!("{}: `{text}`", field.name()))),
        Kind::Int32 => Value::I32(number().try_into().unwrap()),
        Kind::Int64 => Value::I64(number()),
        Kind::Enum(choices) => Value::EnumNumber(choice(&choices, text)),
        other => panic!("{}: a parameter of kind {other:?}", field.name()),
    }
}

/// A choice by its name or its number; a text that is none becomes a number that is none.
fn choice(choices: &EnumDescriptor, text: &str) -> i32 {
    let name = format!("{}_{text}", snake(choices.name()).to_ascii_uppercase());
    let named = choices.get_value_by_name(&name).map(|value| value.number());
    named.or_else(|| text.parse().ok()).unwrap_or(NO_CHOICE)
}

/// `DnListFileUrl` as `dn_list_file_url`.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Messages by descriptor; the one held is that of answers.
struct Dynamic(MessageDescriptor);

impl Codec for Dynamic {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(self.0.clone())
    }

    fn decoder(&mut self) -> Self {
        Self(self.0.clone())
    }
}

impl Encoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, item: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::Message::encode(&item, buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for Dynamic {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), buffer);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
