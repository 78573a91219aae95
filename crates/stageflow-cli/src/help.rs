//! What `--help` says.

use crate::args::Topic;

pub(crate) fn help(topic: Topic, name: &str) -> String {
    let text = match topic {
        Topic::All => ALL,
        Topic::Run => RUN,
        Topic::Lint => LINT,
        Topic::Graph => GRAPH,
        Topic::Schema => SCHEMA,
        Topic::Kinds => KINDS,
    };
    text.replace("PROGRAM", name)
}

const ALL: &str = "\
Runs, checks and draws pipelines that are files.

Usage: PROGRAM <COMMAND> [OPTIONS]

  run FILE      runs a pipeline: the output on stdout, progress and the report on stderr
  lint FILE     says what is wrong with it, or dangerous, without running anything
  graph FILE    draws it: text, Graphviz, Mermaid or SVG
  schema        prints the JSON Schema of such files, for editors and generators
  kinds [NAME]  lists the stages, policies and conditions that files can use, or explains one
  help COMMAND  says more about a command

FILE is a pipeline in JSON; `-` is the standard input.

Exit codes:
  0    done: the run completed, nothing was found, the picture was drawn
  1    the run failed, was denied, ran out of time, or has no output
  2    the command line makes no sense, or the input is missing or no JSON
  3    FILE cannot be read, is malformed, or is no pipeline that can be built
  4    the run was cancelled by a stage, or not let in
  5    lint found something
  6    what was asked for could not be written
  130  Ctrl-C: the run was cancelled, and its clean-ups were awaited
  143  the system asked to end, which is handled alike";

const RUN: &str = "\
Runs a pipeline.

Usage: PROGRAM run FILE [OPTIONS]

  -i, --input JSON   the input: JSON, `@FILE` that holds it, or `-` for stdin; `null` without it
  -d, --deadline T   how long the run may take: `500ms`, `2s`, `1m30s`
  -t, --tenant NAME  for whom it runs
  -e, --events FILE  writes every event of the run to FILE, one JSON object a line; what was in it is gone
      --json         prints one JSON object: outcome, output, error and report
  -q, --quiet        prints no progress and no report

A text as output is printed as it is, everything else as JSON.
A second Ctrl-C does not wait for clean-ups.";

const LINT: &str = "\
Says what is wrong with a pipeline, without running anything: first whether it can be built, then
which of its policies go wrong together, with numbers.

Usage: PROGRAM lint FILE [--json]

Exit codes: 0 nothing, 3 it cannot be built, 5 something was found.";

const GRAPH: &str = "\
Draws a pipeline.

Usage: PROGRAM graph FILE [OPTIONS]

  -f, --format F     `text`, `dot`, `mermaid` or `svg`; by the ending of the output without it, or text
  -o, --output FILE  writes to FILE instead of stdout, whole or not at all";

const SCHEMA: &str = "\
Prints the JSON Schema of files that this program takes, with the configuration of every stage,
policy and condition. Editors check and complete files by it.

Usage: PROGRAM schema";

const KINDS: &str = "\
Lists the stages, policies and conditions that files can use, or explains one of them with all
fields of its configuration.

Usage: PROGRAM kinds [NAME]
       PROGRAM kinds --json";
