//! Launch templates, each with its one version.

use crate::actions::filter::Filters;
use crate::actions::page::page;
use crate::actions::{answer, check_names, launch, tags, tokens};
use crate::clock::iso;
use crate::cloud::{Context, Lagged, Region, Template};
use crate::error::ApiError;
use crate::params::Params;
use crate::xml::Element;

/// A launch request on top of the template that it names: what the request
/// says hides what the template says.
///
/// # Errors
/// `InvalidLaunchTemplateId.NotFound` and the like.
pub(crate) fn lay_over_template(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Params, ApiError> {
    match params.at("LaunchTemplate") {
        None => Ok(params.clone()),
        Some(named) => {
            let template = find(context, named)?;
            check_version(named)?;
            Ok(params.without(&["LaunchTemplate"]).over(&template.data))
        }
    }
}

/// The template that a specification names, as far as this reader sees it.
///
/// # Errors
/// `InvalidLaunchTemplateId.NotFound`,
/// `InvalidLaunchTemplateName.NotFoundException`.
pub(crate) fn find(context: &mut Context<'_>, named: &Params) -> Result<Template, ApiError> {
    let templates = visible(context);
    if let Some(id) = named.text("LaunchTemplateId") {
        let found = templates.into_iter().find(|template| template.id == id);
        return found.ok_or_else(|| {
            ApiError::new(
                "InvalidLaunchTemplateId.NotFound",
                format!("The specified launch template, with template ID {id}, does not exist."),
            )
        });
    }
    let name = named.required("LaunchTemplateName")?;
    let found = templates.into_iter().find(|template| template.name == name);
    found.ok_or_else(|| {
        ApiError::new(
            "InvalidLaunchTemplateName.NotFoundException",
            format!("The specified launch template, with template name {name}, does not exist."),
        )
    })
}

/// The one version there is.
///
/// # Errors
/// `InvalidLaunchTemplateId.VersionNotFound`.
pub(crate) fn check_version(named: &Params) -> Result<(), ApiError> {
    match named.text("Version") {
        None | Some("$Default" | "$Latest" | "1") => Ok(()),
        Some(other) => Err(ApiError::new(
            "InvalidLaunchTemplateId.VersionNotFound",
            format!("Could not find launch template version {other}"),
        )),
    }
}

/// The data of all templates that a launch or a fleet names.
pub(crate) fn named_data<'a>(region: &'a Region, params: &Params) -> Vec<&'a Params> {
    let fleet = params.list("LaunchTemplateConfigs");
    let named = fleet
        .into_iter()
        .filter_map(|config| config.at("LaunchTemplateSpecification"))
        .chain(params.at("LaunchTemplate"));
    named
        .filter_map(|named| {
            let (id, name) = (
                named.text("LaunchTemplateId"),
                named.text("LaunchTemplateName"),
            );
            let templates = region.templates.values();
            templates
                .filter_map(|template| template.current().as_ref())
                .find(|template| match id {
                    Some(id) => id == template.id,
                    None => name == Some(template.name.as_str()),
                })
        })
        .map(|template| &template.data)
        .collect()
}

fn visible(context: &mut Context<'_>) -> Vec<Template> {
    let all: Vec<Lagged<Option<Template>>> = context.region.templates.values().cloned().collect();
    all.iter()
        .filter_map(|template| context.look(template)?.clone())
        .collect()
}

pub(crate) fn create_launch_template(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let name = params.required("LaunchTemplateName")?;
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || "().-/_".contains(character);
    if !(3..=128).contains(&name.len()) || !name.chars().all(allowed) {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.MalformedException",
            "Launch template names must be between 3 and 128 characters long, and may contain \
             letters, numbers, and the following characters: - ( ) . / _",
        ));
    }
    let data = params
        .at("LaunchTemplateData")
        .ok_or_else(|| ApiError::missing("LaunchTemplateData"))?;
    check_names(data, launch::PARAMS)?;
    let key = tokens::key("CreateLaunchTemplate", None, 128, params)?;
    if let Some(spent) = tokens::spent(context, key.as_ref(), params)? {
        let made = context
            .region
            .templates
            .get(&spent.made)
            .and_then(|template| template.current().clone());
        if let Some(template) = made {
            return Ok(one("CreateLaunchTemplateResponse", &template));
        }
    }
    let taken = context
        .region
        .templates
        .values()
        .filter_map(|template| template.current().as_ref())
        .any(|template| template.name == name);
    if taken {
        return Err(ApiError::new(
            "InvalidLaunchTemplateName.AlreadyExistsException",
            "Launch template name already in use.",
        ));
    }
    let mut tags = tags::specifications(params, &["launch-template"])?;
    let template = Template {
        id: context.new_id("lt"),
        name: name.to_owned(),
        created: context.now,
        created_by: context.principal.clone(),
        data: data.clone(),
        tags: tags.remove("launch-template").unwrap_or_default(),
    };
    tokens::spend(context, key, params, &template.id, &[], None);
    let shown = one("CreateLaunchTemplateResponse", &template);
    let hidden_until = context.seen_from();
    context.region.templates.insert(
        template.id.clone(),
        Lagged::new(Some(template), hidden_until),
    );
    Ok(shown)
}

pub(crate) fn describe_launch_templates(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let filters = Filters::read(params, &["launch-template-name", "create-time", "tag-key"])?;
    let ids = params.texts("LaunchTemplateId");
    let names = params.texts("LaunchTemplateName");
    let templates = visible(context);
    for id in &ids {
        if templates.iter().all(|template| template.id != *id) {
            return Err(ApiError::new(
                "InvalidLaunchTemplateId.NotFound",
                format!("The specified launch template, with template ID {id}, does not exist."),
            ));
        }
    }
    for name in &names {
        if templates.iter().all(|template| template.name != *name) {
            return Err(ApiError::new(
                "InvalidLaunchTemplateName.NotFoundException",
                "At least one of the launch templates specified in the request does not exist.",
            ));
        }
    }
    let found: Vec<Template> = templates
        .into_iter()
        .filter(|template| ids.is_empty() || ids.contains(&template.id.as_str()))
        .filter(|template| names.is_empty() || names.contains(&template.name.as_str()))
        .filter(|template| {
            filters.pass(&template.tags, |name| {
                vec![match name {
                    "launch-template-name" => template.name.clone(),
                    _ => iso(template.created),
                }]
            })
        })
        .collect();
    let page = page(context, params, 1..=200, found, |template| {
        template.id.clone()
    })?;
    Ok(answer("DescribeLaunchTemplatesResponse")
        .list(
            "launchTemplates",
            page.items
                .iter()
                .map(|template| fields(Element::new("item"), template)),
        )
        .maybe("nextToken", page.next))
}

pub(crate) fn delete_launch_template(
    context: &mut Context<'_>,
    params: &Params,
) -> Result<Element, ApiError> {
    let template = find(context, params)?;
    let (now, seen_from) = (context.now, context.seen_from());
    if let Some(entry) = context.region.templates.get_mut(&template.id) {
        entry.change(now, seen_from, |template| *template = None);
    }
    Ok(one("DeleteLaunchTemplateResponse", &template))
}

fn one(name: &'static str, template: &Template) -> Element {
    answer(name).child(fields(Element::new("launchTemplate"), template))
}

fn fields(element: Element, template: &Template) -> Element {
    element
        .with("launchTemplateId", &template.id)
        .with("launchTemplateName", &template.name)
        .with("createTime", iso(template.created))
        .with("createdBy", &template.created_by)
        .with("defaultVersionNumber", 1)
        .with("latestVersionNumber", 1)
        .child(tags::set(&template.tags))
}
