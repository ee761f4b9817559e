//! A notebook file (nbformat 4.5) and what its cells put out.

use crate::wire::{Message, new_id};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::Path;

/// A notebook in memory; texts are whole strings here and lists of lines in the file.
pub struct Notebook {
    root: Value,
    /// An announced `clear_output(wait=True)`, by cell.
    clear_at_next: Option<usize>,
}

impl Notebook {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Notebook> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("no such notebook: {}", path.display())
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            Ok(text) => text,
        };
        Notebook::parse(&text).with_context(|| format!("{} is not a notebook", path.display()))
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Notebook> {
        let mut root: Value = serde_json::from_str(text).context("it is not JSON")?;
        let Some(version) = root["nbformat"].as_u64() else {
            bail!("it has no `nbformat`");
        };
        if version != 4 {
            bail!("its format is {version}; convert it to 4 with `jupyter nbconvert`");
        }
        if !root["cells"].is_array() {
            bail!("it has no list of `cells`");
        }
        if !root["metadata"].is_object() {
            root["metadata"] = json!({});
        }
        root["nbformat_minor"] = json!(5.max(root["nbformat_minor"].as_u64().unwrap_or(0)));
        let mut notebook = Notebook { root, clear_at_next: None };
        for cell in notebook.cells_mut() {
            if !cell.is_object() {
                bail!("one of its cells is not an object");
            }
            let source = joined(&cell["source"]);
            cell["source"] = json!(source);
            if !cell["metadata"].is_object() {
                cell["metadata"] = json!({});
            }
            if !cell["id"].is_string() {
                cell["id"] = json!(new_id()[..8]);
            }
        }
        Ok(notebook)
    }

    /// The cells.
    pub fn cells(&self) -> &[Value] {
        self.root["cells"].as_array().map_or(&[], Vec::as_slice)
    }

    fn cells_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.root["cells"].as_array_mut().into_iter().flatten()
    }

    fn cell_mut(&mut self, index: usize) -> &mut Value {
        &mut self.root["cells"][index]
    }

    /// Indices of the cells that hold code.
    pub fn code_cells(&self) -> Vec<usize> {
        (0..self.cells().len())
            .filter(|&i| self.cells()[i]["cell_type"] == "code")
            .filter(|&i| !self.source(i).trim().is_empty())
            .collect()
    }

    /// The text of a cell.
    pub fn source(&self, index: usize) -> String {
        joined(&self.cells()[index]["source"])
    }

    /// Whether a cell has a tag.
    pub fn has_tag(&self, index: usize, tag: &str) -> bool {
        self.cells()[index]["metadata"]["tags"]
            .as_array()
            .is_some_and(|tags| tags.iter().any(|t| t == tag))
    }

    /// Puts a code cell with a tag after another, in place of the one that is there already.
    pub fn insert_code(&mut self, after: usize, tag: &str, source: &str) {
        let tagged = (0..self.cells().len()).find(|&i| self.has_tag(i, tag));
        if let Some(index) = tagged {
            self.cell_mut(index)["source"] = json!(source);
            return;
        }
        let cell = json!({
            "cell_type": "code", "id": &new_id()[..8], "metadata": {"tags": [tag]},
            "execution_count": null, "outputs": [], "source": source,
        });
        if let Some(cells) = self.root["cells"].as_array_mut() {
            cells.insert(after + 1, cell);
        }
    }

    /// Removes all outputs.
    pub fn clear(&mut self) {
        for cell in self.cells_mut().filter(|c| c["cell_type"] == "code") {
            cell["outputs"] = json!([]);
            cell["execution_count"] = Value::Null;
        }
    }

    /// Notes which kernel ran it.
    pub fn set_kernel(&mut self, name: &str, display_name: &str, language: &Value) {
        let metadata = &mut self.root["metadata"];
        metadata["kernelspec"] = json!({
            "name": name, "display_name": display_name,
            "language": language["name"].as_str().unwrap_or("rust"),
        });
        if language.is_object() {
            metadata["language_info"] = language.clone();
        }
    }

    fn outputs(&mut self, index: usize) -> &mut Vec<Value> {
        let cell = self.cell_mut(index);
        if !cell["outputs"].is_array() {
            cell["outputs"] = json!([]);
        }
        match &mut cell["outputs"] {
            Value::Array(outputs) => outputs,
            _ => unreachable!("made an array above"),
        }
    }

    /// Takes in one published message of a cell.
    pub fn collect(&mut self, index: usize, message: &Message) {
        let content = &message.content;
        let adds = matches!(message.kind(), "stream" | "display_data" | "execute_result" | "error");
        if adds && self.clear_at_next.take() == Some(index) {
            self.outputs(index).clear();
        }
        match message.kind() {
            "stream" => {
                let text = content["text"].as_str().unwrap_or("");
                let outputs = self.outputs(index);
                match outputs.last_mut() {
                    Some(last)
                        if last["output_type"] == "stream" && last["name"] == content["name"] =>
                    {
                        if let Value::String(so_far) = &mut last["text"] {
                            so_far.push_str(text);
                        }
                    }
                    _ => outputs.push(json!({
                        "output_type": "stream", "name": content["name"], "text": text,
                    })),
                }
            }
            kind @ ("display_data" | "execute_result") => {
                let mut output = json!({
                    "output_type": kind, "data": content["data"],
                    "metadata": or_empty(&content["metadata"]),
                });
                if kind == "execute_result" {
                    output["execution_count"] = content["execution_count"].clone();
                }
                // Dropped when the file is written.
                if let Some(id) = content["transient"]["display_id"].as_str() {
                    output["transient"] = json!({"display_id": id});
                }
                self.outputs(index).push(output);
            }
            "update_display_data" => {
                let id = content["transient"]["display_id"].clone();
                for cell in self.cells_mut() {
                    for output in outputs_of(cell) {
                        if !id.is_null() && output["transient"]["display_id"] == id {
                            output["data"] = content["data"].clone();
                            output["metadata"] = or_empty(&content["metadata"]);
                        }
                    }
                }
            }
            "clear_output" => {
                if content["wait"].as_bool().unwrap_or(false) {
                    self.clear_at_next = Some(index);
                } else {
                    self.outputs(index).clear();
                }
            }
            "error" => self.add_error(index, content),
            _ => {}
        }
    }

    /// Adds an error to a cell's outputs.
    pub fn add_error(&mut self, index: usize, error: &Value) {
        self.outputs(index).push(json!({
            "output_type": "error", "ename": error["ename"], "evalue": error["evalue"],
            "traceback": error["traceback"],
        }));
    }

    /// Notes a cell's number.
    pub fn finish(&mut self, index: usize, reply: &Value) {
        self.cell_mut(index)["execution_count"] = reply["execution_count"].clone();
    }

    /// The text of the file.
    pub fn to_json(&self) -> Result<String> {
        let mut root = self.root.clone();
        for cell in root["cells"].as_array_mut().into_iter().flatten() {
            split(&mut cell["source"]);
            for output in outputs_of(cell) {
                if let Some(output) = output.as_object_mut() {
                    output.remove("transient");
                }
                if output["output_type"] == "stream" {
                    let text = overwritten(output["text"].as_str().unwrap_or(""));
                    output["text"] = json!(text);
                    split(&mut output["text"]);
                }
                let data = output.get_mut("data").and_then(Value::as_object_mut);
                for (mime, value) in data.into_iter().flatten() {
                    if is_text(mime) {
                        split(value);
                    }
                }
            }
        }
        let mut bytes = Vec::new();
        let format = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut writer = serde_json::Serializer::with_formatter(&mut bytes, format);
        serde::Serialize::serialize(&root, &mut writer)?;
        bytes.push(b'\n');
        Ok(String::from_utf8(bytes)?)
    }
}

/// The outputs of a cell; none for one that is not code, which must not be given any.
fn outputs_of(cell: &mut Value) -> impl Iterator<Item = &mut Value> {
    cell.get_mut("outputs").and_then(Value::as_array_mut).into_iter().flatten()
}

/// The types that nbformat stores as lists of lines; others stay one string or JSON.
fn is_text(mime: &str) -> bool {
    mime.starts_with("text/") || matches!(mime, "image/svg+xml" | "application/javascript")
}

fn or_empty(value: &Value) -> Value {
    if value.is_object() { value.clone() } else { json!({}) }
}

/// A text that may be given as a list of lines.
pub fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

fn split(value: &mut Value) {
    if let Value::String(text) = value {
        *value = text.split_inclusive('\n').collect();
    }
}

/// What is left of lines that were written over after a carriage return.
pub fn overwritten(text: &str) -> String {
    if !text.contains('\r') {
        return text.to_owned();
    }
    text.split_inclusive('\n')
        .map(|line| {
            let (body, end) = match line.strip_suffix("\r\n").or(line.strip_suffix('\n')) {
                Some(body) => (body, "\n"),
                None => (line, ""),
            };
            let last = body.trim_end_matches('\r').rsplit('\r').next();
            format!("{}{end}", last.unwrap_or(""))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notebook() -> Notebook {
        let text = r#"{"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": [
            {"cell_type": "code", "metadata": {}, "source": ["1 +\n", "1"], "outputs": []},
            {"cell_type": "code", "metadata": {"tags": ["x"]}, "source": "2", "outputs": []},
            {"cell_type": "markdown", "metadata": {}, "source": "text"}]}"#;
        Notebook::parse(text).unwrap()
    }

    fn message(kind: &str, content: Value) -> Message {
        Message::new("s", kind, content)
    }

    #[test]
    fn outputs_are_gathered_as_a_front_end_does() {
        let mut n = notebook();
        assert_eq!(n.source(0), "1 +\n1");
        n.collect(0, &message("stream", json!({"name": "stdout", "text": "a"})));
        n.collect(0, &message("stream", json!({"name": "stdout", "text": "b\n"})));
        let shown = json!({"data": {"text/plain": "old", "image/png": "x"}, "transient": {"display_id": "d"}});
        n.collect(0, &message("display_data", shown));
        n.collect(0, &message("stream", json!({"name": "stdout", "text": "c"})));
        let update = json!({"data": {"text/plain": "new", "image/png": "aGk="}, "transient": {"display_id": "d"}});
        n.collect(1, &message("update_display_data", update));
        let file: Value = serde_json::from_str(&n.to_json().unwrap()).unwrap();
        let outputs = &file["cells"][0]["outputs"];
        assert_eq!(outputs[0]["text"], json!(["ab\n"]));
        assert_eq!(outputs[1]["data"]["text/plain"], json!(["new"]));
        assert_eq!(outputs[1]["data"]["image/png"], "aGk=");
        assert!(outputs[1].get("transient").is_none());
        assert!(file["cells"][2].get("outputs").is_none(), "a text cell was given outputs");
        assert_eq!(outputs[2]["text"], json!(["c"]));
        assert_eq!(file["nbformat_minor"], 5);
        assert!(file["cells"][1]["id"].is_string());
    }

    #[test]
    fn cleared_output_goes_now_or_with_the_next() {
        let mut n = notebook();
        let text = |t: &str| message("stream", json!({"name": "stdout", "text": t}));
        n.collect(0, &text("a"));
        n.collect(0, &message("clear_output", json!({"wait": true})));
        assert_eq!(n.outputs(0).len(), 1);
        n.collect(0, &text("b"));
        assert_eq!(n.outputs(0)[0]["text"], "b");
        n.collect(0, &message("clear_output", json!({"wait": false})));
        assert!(n.outputs(0).is_empty());
    }

    #[test]
    fn what_is_no_notebook_is_refused() {
        for text in ["", "{}", "[]", r#"{"nbformat": 3}"#, r#"{"nbformat": 4, "cells": 1}"#] {
            assert!(Notebook::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn progress_lines_keep_their_last_state() {
        assert_eq!(overwritten("1 %\r50 %\r100 %\ndone\r\n"), "100 %\ndone\n");
    }
}
